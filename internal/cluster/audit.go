package cluster

import (
	"context"
	"time"

	"github.com/ournet/ournet/internal/store"
)

// audit compares what the store has of this host in a network with what this host
// said; what is different is said again.
func (f *feed) audit(network NetworkID, all found) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	p := f.c.state.parts[network]
	if p == nil {
		return
	}
	have := all.endpoints[f.c.self]
	same := len(have) == len(p.endpoints[f.c.self])
	for id, e := range p.endpoints[f.c.self] {
		old, ok := have[id]
		same = same && ok && old.equal(e)
	}
	if _, member := all.members[f.c.self]; !same || !member {
		f.doubts[network] = true
		f.plan(choreAudit, time.Now())
	}
}

// settleDoubts says again what the store has otherwise of this host, when nothing is
// on its way there.
func (f *feed) settleDoubts(ctx context.Context) error {
	for network := range f.doubts {
		said, ok, err := f.said(ctx, choreAudit)
		if !ok {
			return err
		}
		pairs, _, err := f.c.shared.List(ctx, store.MemberKey(string(network), string(f.c.self)), 0)
		if err != nil {
			return err
		}
		done, ok, err := f.stillSaid(ctx, choreAudit, said)
		if !ok {
			return err
		}
		err = f.correct(ctx, network, f.sort(pairs))
		done()
		if err != nil {
			return err
		}
		delete(f.doubts, network)
	}
	return nil
}

// correct says what is not as this host has it.
func (f *feed) correct(ctx context.Context, network NetworkID, all found) error {
	f.c.mu.Lock()
	p := f.c.state.parts[network]
	f.c.mu.Unlock()
	if p == nil {
		return nil
	}
	self := f.c.self
	if m := p.members[self]; all.members[self] != m {
		value, err := encode(m)
		if err != nil {
			return err
		}
		if err := f.c.say(ctx, []store.Op{store.Set(store.MemberKey(string(network), string(self)), value)}, networkChange(network)); err != nil {
			return err
		}
	}
	var there []Endpoint
	var gone []EndpointID
	for id, e := range p.endpoints[self] {
		if have, ok := all.endpoints[self][id]; !ok || !have.equal(e) {
			there = append(there, e)
		}
	}
	for id := range all.endpoints[self] {
		if _, ok := p.endpoints[self][id]; !ok {
			gone = append(gone, id)
		}
	}
	return f.c.sayMany(ctx, network, there, gone)
}
