package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/backoff"
	"github.com/ournet/ournet/internal/store"
)

// How often is looked for what no change tells of, and how long after a change what
// can wait is done.
const (
	sweepEvery = time.Minute
	settle     = time.Second
)

// feed brings what others say into the state. One goroutine runs it, and all below is
// its own.
type feed struct {
	c   *Cluster
	log logrus.FieldLogger

	// rings are what all hosts changed last, as they were listed last; nil before.
	rings map[HostID]ring
	// heard is what of this host was listed last, and lost that it went backwards.
	heard ring
	lost  bool
	// records are the networks as they were listed last, with their index.
	records register
	listed  bool // records were listed since the start
	// loaded are the networks of which everything was listed since the start, or
	// since the store lost its past.
	loaded map[NetworkID]bool
	// warned are keys of which was said that they cannot be read.
	warned map[string]bool

	alive   map[HostID]bool
	missing map[HostID]time.Time // since when a host's key of life is not there
	// grace is until when nobody becomes suspect, and keep until when hosts stay
	// that the store does not know.
	grace, keep time.Time

	failures int
	due      map[chore]time.Time
	loose    map[NetworkID]bool // removed networks that may have no member left
	doubts   map[NetworkID]bool // networks where the store has this host's otherwise
	// patience is how long after it was seen last a host is removed: not by all
	// others at once.
	patience time.Duration
}

// chore is what is done some time after it was found to be needed.
type chore int

// The chores.
const (
	choreSweep chore = iota
	choreRetry
	choreJudge
	choreOwn // see whether the store has what this host said
	choreAudit
	choreCollect
	choreSuspects
	chorePurge
)

// needsStore reports whether a chore can only be done when the store is there.
func (c chore) needsStore() bool { return c >= choreOwn }

func newFeed(c *Cluster) *feed {
	now := time.Now()
	return &feed{
		c: c, log: c.log,
		loaded: make(map[NetworkID]bool), warned: make(map[string]bool),
		alive: make(map[HostID]bool), missing: make(map[HostID]time.Time), loose: make(map[NetworkID]bool),
		doubts: make(map[NetworkID]bool), patience: c.opts.Removal + rand.N(c.opts.Removal/100+1), //nolint:gosec // it spreads load
		grace: now.Add(c.opts.TTL),
		due: map[chore]time.Time{
			choreSweep: now.Add(sweepEvery), chorePurge: now.Add(rand.N(purgeEvery)), //nolint:gosec // it spreads load
		},
	}
}

func (f *feed) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.c.in.signal:
		case <-timer.C:
		}
		if err := f.step(ctx); err != nil {
			return err
		}
		timer.Reset(f.pause(time.Now()))
	}
}

// pause returns how long nothing is due.
func (f *feed) pause(now time.Time) time.Duration {
	away := f.c.in.isAway(listedChanges)
	wait := sweepEvery
	for what, at := range f.due {
		if away && what.needsStore() {
			continue // the listing that says that it is back wakes us
		}
		wait = min(wait, at.Sub(now))
	}
	return max(wait, 0)
}

// plan makes a chore due, if it is not sooner.
func (f *feed) plan(what chore, at time.Time) {
	if have, ok := f.due[what]; !ok || at.Before(have) {
		f.due[what] = at
	}
}

// ripe reports whether a chore is due, and takes it off the list.
func (f *feed) ripe(what chore, now time.Time) bool {
	at, ok := f.due[what]
	if !ok || at.After(now) {
		return false
	}
	delete(f.due, what)
	return true
}

// step takes what was listed, fetches what it names, and does what is due. Trouble of
// the cluster store is tried again later; what it returns is trouble of this host's.
func (f *feed) step(ctx context.Context) error {
	now := time.Now()
	listings, left := f.c.in.take()
	for _, id := range left {
		delete(f.loaded, id)
		f.loosen(id, now)
	}
	if l, ok := listings[listedNetworks]; ok {
		f.seeNetworks(l.pairs, now)
	}
	if l, ok := listings[listedAlive]; ok {
		f.seeAlive(l, now)
	}
	if l, ok := listings[listedChanges]; ok {
		f.seeChanges(l, now)
	}
	f.ripe(choreRetry, now)
	err := f.follow(ctx)
	if f.ripe(choreJudge, now) {
		f.judge(now)
	}
	err = errors.Join(err, f.chores(ctx, now))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		if f.failures == 0 {
			f.log.WithField("err", err).Warn("news of the cluster cannot be read, and will be later")
		}
		f.plan(choreRetry, now.Add(backoff.Backoff{First: 100 * time.Millisecond, Most: 2 * time.Second}.Pause(f.failures)))
		f.failures++
	} else {
		f.failures = 0
	}
	if err := f.c.flush(ctx); err != nil {
		return fmt.Errorf("keep what is known of the cluster: %w", err)
	}
	return nil
}

// chores does what is due.
func (f *feed) chores(ctx context.Context, now time.Time) error {
	if f.ripe(choreSweep, now) {
		f.plan(choreSweep, now.Add(sweepEvery))
		f.plan(choreOwn, now)
		f.plan(choreSuspects, now)
		f.plan(choreCollect, now)
	}
	var errs []error
	for what, do := range map[chore]func(context.Context) error{
		choreOwn: f.checkOwn, choreAudit: f.settleDoubts, choreCollect: f.collect, choreSuspects: f.suspects,
		chorePurge: f.purge,
	} {
		if f.c.in.isAway(listedChanges) || !f.ripe(what, now) {
			continue
		}
		if err := do(ctx); err != nil {
			f.plan(what, now.Add(settle))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// unreadable says once that a value cannot be read.
func (f *feed) unreadable(key string, err error) {
	if !f.warned[key] {
		f.warned[key] = true
		f.log.WithField("key", key).WithField("err", err).Warn("a record of the cluster cannot be read, and is taken for absent")
	}
}

// seeNetworks takes over all records and removals of networks.
func (f *feed) seeNetworks(pairs []store.Pair, now time.Time) {
	r := register{
		networks: make(map[NetworkID]Network), at: make(map[NetworkID]store.Index),
		removals: make(map[NetworkID]map[HostID]removal),
	}
	for _, p := range pairs {
		if err := r.take(p); err != nil {
			f.unreadable(p.Key, err)
		}
	}
	f.records, f.listed = r, true
	c := f.c
	c.mu.Lock()
	defer c.mu.Unlock()
	var what touched
	for id, n := range r.networks {
		if c.state.collected[id] {
			delete(c.state.collected, id) // it was made anew
			what.network(id)
		}
		if c.setNetworkLocked(n) {
			what.network(id)
		}
	}
	for id := range c.state.networks {
		if _, ok := r.networks[id]; ok {
			continue
		}
		if c.state.parts[id] != nil {
			// Either it was removed everywhere, or the store lost it.
			f.plan(choreOwn, now.Add(settle))
			continue
		}
		delete(c.state.networks, id)
		c.unmirrorLocked(store.NetworkKey(string(id)))
		what.network(id)
	}
	f.takeRemovalsLocked(r, now, &what)
	if !what.empty() {
		c.publishLocked(what)
	}
}

// takeRemovalsLocked takes over the removals; this host's own are known better here.
func (f *feed) takeRemovalsLocked(r register, now time.Time, what *touched) {
	s := &f.c.state
	for id, hosts := range s.removals {
		for host := range hosts {
			if _, ok := r.removals[id][host]; !ok && host != f.c.self {
				s.setRemoval(id, host, nil)
				f.c.unmirrorLocked(store.RemovalKey(string(id), string(host)))
				what.network(id)
			}
		}
	}
	for id, hosts := range r.removals {
		if _, own := hosts[f.c.self]; own && r.at[id] == 0 {
			// Who removed the network's record had not heard of it.
			f.plan(choreOwn, now.Add(settle))
		}
		for host, gone := range hosts {
			if have, ok := s.removals[id][host]; host == f.c.self || ok && have == gone {
				continue
			}
			s.setRemoval(id, host, &gone)
			mirrorLocked(f.c, store.RemovalKey(string(id), string(host)), gone)
			what.network(id)
		}
		if isRemoved(r.networks[id].Generation, hosts) {
			f.loosen(id, now)
		}
	}
}

// seeChanges takes over what all hosts changed last.
func (f *feed) seeChanges(l listing, now time.Time) {
	f.rings = make(map[HostID]ring, len(l.pairs))
	for _, p := range l.pairs {
		r, err := decode[ring](p.Value)
		if err != nil {
			f.unreadable(p.Key, err)
			continue
		}
		f.rings[HostID(strings.TrimPrefix(p.Key, store.ChangesPrefix()))] = r
	}
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	own, there := f.rings[f.c.self]
	if !there {
		// Others took this host for gone, or the store lost its past, and they
		// will say all again: until then they are not forgotten.
		f.keep = now.Add(2 * f.c.opts.TTL)
	}
	if own.Epoch == f.heard.Epoch && own.Count < f.heard.Count || !there && f.heard.Epoch != "" {
		f.lost = true
	}
	f.heard = own
	if l.fresh || !there || !own.same(f.c.ring) {
		f.plan(choreOwn, now.Add(settle))
	}
	if now.Before(f.keep) {
		f.plan(choreRetry, f.keep)
	}
	var what touched
	for id, h := range f.c.state.hosts {
		if _, ok := f.rings[id]; ok || id == f.c.self {
			continue
		}
		if !now.Before(f.keep) {
			f.c.dropHostLocked(id, &what)
			continue
		}
		// What of a network is listed meanwhile leaves it out.
		h.followed = ring{}
		f.c.unmirrorLocked(store.ChangeKey(string(id)))
	}
	if !what.empty() {
		f.c.publishLocked(what)
	}
}
