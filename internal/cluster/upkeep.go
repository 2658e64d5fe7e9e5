package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ournet/ournet/internal/store"
)

// longestRemoval is how long this host says that it removed a network that is gone
// without a trace.
const longestRemoval = 7 * 24 * time.Hour

// ownTime bounds what is asked of the cluster store in the turn turnOwn: a container
// that starts waits for that turn.
const ownTime = time.Second

// checkOwn sees whether the store has what this host said last, and says everything
// again if not: it was wiped, set back to an old state, or this host was removed
// while it was cut off.
func (f *feed) checkOwn(ctx context.Context) error {
	said, ok, err := f.said(ctx, choreOwn)
	if !ok {
		return err
	}
	kept, err := f.kept(ctx, said)
	if err != nil {
		return err
	}
	done, ok, err := f.stillSaid(ctx, choreOwn, said)
	if !ok {
		return err
	}
	defer done()
	if kept {
		bounded, cancel := context.WithTimeout(ctx, ownTime)
		defer cancel()
		return f.heal(bounded)
	}
	f.log.Warn("the cluster store does not have what this host said; all is said again")
	// What others said may be lost as well.
	clear(f.loaded)
	if err := f.c.restate(ctx); err != nil {
		return err
	}
	f.lost, f.heard = false, ring{}
	f.plan(choreOwn, time.Now().Add(settle))
	return nil
}

// said returns what this host said last, if none of it is on its way to the store. If
// some is, c is planned for later. What is asked of the store then is asked without the
// turn at what this host says: with no leader it takes long, and containers start.
func (f *feed) said(ctx context.Context, c chore) (last ring, ok bool, err error) {
	f.c.mu.Lock()
	last = f.c.ring
	f.c.mu.Unlock()
	pending, err := f.c.journal.Pending(ctx)
	if err == nil && pending > 0 {
		f.plan(c, time.Now().Add(settle))
	}
	return last, err == nil && pending == 0, err
}

// stillSaid takes the turn at what this host says, if it has said nothing since last.
// If it has, c is planned for later.
func (f *feed) stillSaid(ctx context.Context, c chore, last ring) (done func(), ok bool, err error) {
	done, err = f.c.turns.Take(ctx, turnOwn)
	if err != nil {
		return nil, false, err
	}
	now, ok, err := f.said(ctx, c)
	if ok && now.same(last) {
		return done, true, nil
	}
	done()
	if ok {
		f.plan(c, time.Now().Add(settle))
	}
	return nil, false, err
}

// kept reports whether the store has what this host said. The key of changes is not
// enough: the next change writes it again. What this host is, is said with everything
// else alone.
func (f *feed) kept(ctx context.Context, want ring) (bool, error) {
	if f.lost {
		return false, nil
	}
	pair, err := f.c.shared.Get(ctx, store.ChangeKey(string(f.c.self)))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if have, derr := decode[ring](pair.Value); derr != nil || !have.same(want) {
		return false, nil //nolint:nilerr // what cannot be read is not what this host said
	}
	pair, err = f.c.shared.Get(ctx, store.HostKey(string(f.c.self)))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	have, derr := decode[Host](pair.Value)
	return derr == nil && have.equal(f.c.Self()), nil
}

// heal makes the records of networks again that this host takes part in and the store
// does not know. Those that were removed everywhere it takes for removed.
func (f *feed) heal(ctx context.Context) error {
	if !f.listed {
		return nil
	}
	f.c.mu.Lock()
	var lost []Network
	var orphans []NetworkID
	for id := range f.c.state.parts {
		if _, there := f.records.networks[id]; !there && !f.c.state.collected[id] {
			if n, known := f.c.state.networks[id]; known {
				lost = append(lost, n)
			}
		}
	}
	for id, hosts := range f.c.state.removals {
		_, there := f.records.networks[id]
		if _, own := hosts[f.c.self]; own && !there {
			orphans = append(orphans, id)
		}
	}
	f.c.mu.Unlock()
	var errs []error
	for _, n := range lost {
		errs = append(errs, f.healNetwork(ctx, n))
	}
	for _, id := range orphans {
		errs = append(errs, f.dropRemoval(ctx, id))
	}
	return errors.Join(errs...)
}

func (f *feed) healNetwork(ctx context.Context, n Network) error {
	gone, err := f.c.gone(ctx, n.ID)
	if err != nil {
		return err
	}
	if gone.Generation >= n.Generation {
		f.c.mu.Lock()
		defer f.c.mu.Unlock()
		if f.c.state.parts[n.ID] != nil {
			f.c.state.collected[n.ID] = true
			var what touched
			what.network(n.ID)
			f.c.publishLocked(what)
		}
		return nil
	}
	r, err := f.c.readRegister(ctx)
	if err != nil {
		return err
	}
	if _, there := r.networks[n.ID]; there {
		return nil
	}
	_, ops, err := f.c.create(r, n)
	if err != nil {
		// Another has its subnet or VNI now: only people can decide.
		f.log.WithField("network", short(n.ID)).WithField("err", err).Error("a network of this host is not known to the cluster any more, and cannot be made again; remove it")
		return nil
	}
	_, err = f.c.shared.Apply(ctx, ops...)
	if err != nil {
		return fmt.Errorf("make the record of network %s again: %w", short(n.ID), err)
	}
	f.log.WithField("network", short(n.ID)).Warn("the cluster store had lost a network; its record was made again")
	return nil
}

// dropRemoval takes back that this host's user removed a network, when all know.
func (f *feed) dropRemoval(ctx context.Context, id NetworkID) error {
	gone, err := f.c.gone(ctx, id)
	if err != nil {
		return err
	}
	f.c.mu.Lock()
	own := f.c.state.removals[id][f.c.self]
	f.c.mu.Unlock()
	if gone.Generation == 0 && time.Since(own.At) < longestRemoval {
		return nil
	}
	if err := f.c.say(ctx, []store.Op{store.Delete(store.RemovalKey(string(id), string(f.c.self)))}); err != nil {
		return err
	}
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	f.c.state.setRemoval(id, f.c.self, nil)
	return nil
}
