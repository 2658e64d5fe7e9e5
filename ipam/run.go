package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/internal/backoff"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/ipam/ledger"
)

const (
	// tendEvery is how often Run looks at all pools, whether or not anything was
	// heard.
	tendEvery = time.Minute
	// answers is how many claims of other hosts are answered at once.
	answers = 16
)

// Run does in the background what the pools of the cluster need, until ctx ends: it
// keeps addresses in reserve, leaves the pools that were released, answers other
// hosts, and compares what is this host's with the ledger. [Manager.Adopt] comes
// before it, for what it finds to be nobody's it may give back.
func (m *Manager) Run(ctx context.Context) error {
	if m.cluster == nil {
		<-ctx.Done()
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		m.tend(ctx)
		return nil
	})
	g.Go(func() error {
		var claims errgroup.Group
		claims.SetLimit(answers)
		err := m.cluster.Answer(ctx, ledger.Answerer{
			Asked: func(q ledger.Asked) { claims.Go(func() error { m.answer(ctx, q); return nil }) },
			Back:  m.Recheck,
			Away: func(err error) {
				m.log.WithError(err).Warn("the cluster store is away: addresses are given out of the reserve")
			},
		})
		if ctx.Err() != nil {
			err = nil // which is how it ends
		}
		return errors.Join(err, claims.Wait())
	})
	return g.Wait()
}

// tend does what there is to do, when it is told so and now and then. What fails is
// tried again after a pause that grows.
func (m *Manager) tend(ctx context.Context) {
	every := time.NewTicker(tendEvery)
	defer every.Stop()
	unchecked := true // the first look is for the whole
	failures := 0
	for {
		err := errors.Join(m.leavePools(ctx), m.checkPools(ctx, unchecked), m.refillPools(ctx))
		var again <-chan time.Time
		if err != nil && ctx.Err() == nil {
			if failures == 0 {
				m.log.WithError(err).Warn("the cluster's address pools are not as they should be; this is tried again")
			}
			again = time.After(backoff.Backoff{First: 100 * time.Millisecond, Most: 10 * time.Second}.Pause(failures))
			failures++
		} else {
			unchecked, failures = false, 0
		}
		select {
		case <-ctx.Done():
			return
		case <-m.cluster.wake:
		case <-again:
		case <-m.cluster.check:
			unchecked, failures = true, 0
		case <-every.C:
			m.giveBackIdle(ctx)
		}
	}
}

// shared returns the pools that hosts share and of which want reports true.
func (m *Manager) shared(want func(*pool) bool) []*pool {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*pool
	for _, id := range slices.Sorted(maps.Keys(m.pools)) {
		if p := m.pools[id]; p.isShared() && p.writing == nil && want(p) {
			all = append(all, p)
		}
	}
	return all
}

// refillPools gets more addresses where few are left.
func (m *Manager) refillPools(ctx context.Context) error {
	var errs []error
	for _, p := range m.shared((*pool).wantsMore) {
		err := m.refill(ctx, p)
		if mustCompare(err) {
			if err = m.checkPool(ctx, p); err == nil {
				err = m.refill(ctx, p)
			}
		}
		if !errors.Is(err, ledger.ErrFull) && !errors.Is(err, ErrNoPool) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// leavePools frees what this host has of the pools that it has released.
func (m *Manager) leavePools(ctx context.Context) error {
	pairs, _, err := m.kv.List(ctx, store.LocalLeavingPrefix(), 0)
	if err != nil {
		return err
	}
	var errs []error
	for _, pair := range pairs {
		var r leavingRecord
		if err := decode(pair.Value, &r); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", pair.Key, err))
			continue
		}
		if err := m.leavePool(ctx, r.Subnet); err != nil {
			errs = append(errs, fmt.Errorf("leave address pool %s of the cluster: %w", r.Subnet, err))
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) leavePool(ctx context.Context, subnet netip.Prefix) error {
	done, err := m.turns.Take(ctx, subnet.String())
	if err != nil {
		return err
	}
	defer done()
	key := store.LocalLeavingKey(subnet.String())
	pair, err := m.kv.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil // asked for again meanwhile
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	p := m.pools[NewPoolID(SpaceCluster, subnet)]
	m.mu.Unlock()
	if p != nil { // it is just being joined
		return nil
	}
	err = m.ask(ctx, "leaving it", func(ctx context.Context, l *ledger.Ledger) error {
		return l.Vacate(ctx, subnet, l.Host())
	})
	if err == nil {
		_, err = m.kv.Apply(ctx, store.DeleteCAS(key, pair.Index))
	}
	return err
}

// giveBackIdle gives back what is more than this host takes at once, of pools that
// have little left for others.
func (m *Manager) giveBackIdle(ctx context.Context) {
	for _, p := range m.shared(func(p *pool) bool { return p.spareDynamic() > 1 }) {
		if err := m.giveBack(ctx, p); err != nil && ctx.Err() == nil {
			m.log.WithError(err).WithField("pool", p.Subnet).Debug("idle addresses were not given back")
		}
	}
}

func (m *Manager) giveBack(ctx context.Context, p *pool) error {
	done, err := m.turnOf(ctx, p)
	if err != nil {
		return err
	}
	defer done()
	return m.ask(ctx, "giving addresses back", func(ctx context.Context, l *ledger.Ledger) error {
		supply, err := l.Supply(ctx, p.Subnet, p.dynamic)
		if err != nil || supply.Free > p.dynamic.Len()/8 {
			return err
		}
		m.mu.Lock()
		p.reserve.supply = supply
		excess := p.excess(max(supply.Batch(), 1))
		m.mu.Unlock()
		for base, b := range excess {
			gone, err := m.surrender(ctx, p, base, b)
			if err == nil {
				_, err = l.Give(ctx, p.Subnet, base, gone, "")
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// answer gives another host what it asks for, if nobody here uses it.
func (m *Manager) answer(ctx context.Context, q ledger.Asked) {
	if err := m.tryAnswer(ctx, q); err != nil && ctx.Err() == nil {
		m.log.WithError(err).WithField("host", q.From).Warn("another host asked for an address and got no answer")
	}
}

func (m *Manager) tryAnswer(ctx context.Context, q ledger.Asked) error {
	done, err := m.turns.Take(ctx, q.Subnet.String())
	if err != nil {
		return err
	}
	defer done()
	base, b, why := m.offer(q)
	if why == "" {
		m.mu.Lock()
		p := m.pools[NewPoolID(SpaceCluster, q.Subnet)]
		m.mu.Unlock()
		if p != nil {
			gone, err := m.surrender(ctx, p, base, b)
			if err != nil {
				return err
			}
			// Also what the ledger alone has: it is not in use here.
			b = gone.Or(b.Without(m.owned(p)[base]))
		}
	}
	return m.ask(ctx, "answering", func(ctx context.Context, l *ledger.Ledger) error {
		if why != "" {
			return l.Refuse(ctx, q, why)
		}
		return l.Grant(ctx, q, base, b)
	})
}

// offer says what can be given for a claim, or why nothing can.
func (m *Manager) offer(q ledger.Asked) (base netip.Addr, b ledger.Bits, why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pools[NewPoolID(SpaceCluster, q.Subnet)]
	switch {
	case q.Addr.IsValid():
		base, b = ledger.Base(q.Addr), ledger.Only(q.Addr)
		if p == nil {
			return base, b, ""
		}
		if l := p.leases[q.Addr]; l != nil && (l.writing != nil || l.Released.IsZero()) {
			return base, b, "it is in use by " + l.holder(p)
		}
		return base, b, ""
	case p == nil:
		return base, b, "the pool is just being left"
	}
	for base, b := range p.reserve.spare {
		if b = b.And(ledger.Within(base, p.dynamic)); b != (ledger.Bits{}) {
			return base, b.Lowest(max(b.Len()/2, 1)), ""
		}
	}
	for a := range p.memory.oldest {
		if p.mayGive(a) && p.dynamic.Contains(a) && p.leases[a].writing == nil {
			return ledger.Base(a), ledger.Only(a), ""
		}
	}
	return base, b, "all its addresses are in use"
}
