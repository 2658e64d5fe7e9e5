package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/ipam/ledger"
)

// meet gets from the cluster what a request of a shared pool needs, and notes in t
// what cannot be had.
func (m *Manager) meet(ctx context.Context, p *pool, g grant, t *tried) error {
	var err error
	switch g.need {
	case needAddress:
		err = m.fetch(ctx, p, g.addr)
	case needShared:
		err = m.share(ctx, p, g.addr, g.gateway)
	case needMore:
		err = m.refill(ctx, p)
		t.more = err != nil
	case needOthers:
		err = m.askOthers(ctx, p)
		t.others = err != nil
		t.more = t.more && t.others
	case needNothing:
	}
	anyWillDo := g.need == needMore || g.need == needOthers
	switch {
	case !t.joined && mustCompare(err):
		// Taken for dead, and back before Run has seen that; or the store lost its past.
		t.joined, t.more, t.others = true, false, false
		return m.checkPool(ctx, p)
	case anyWillDo && errors.Is(err, ErrAway):
		// What this host remembers for others is still its own to give.
		t.away, t.others = err, true
		return nil
	case anyWillDo && errors.Is(err, ledger.ErrFull):
		return nil
	}
	return err
}

// mustCompare reports whether an error says that the ledger does not know this host as
// it was.
func mustCompare(err error) bool {
	return errors.Is(err, ledger.ErrNotMember) || errors.Is(err, ledger.ErrNoPool) || errors.Is(err, ledger.ErrLost)
}

// refill gets more addresses of the cluster.
func (m *Manager) refill(ctx context.Context, p *pool) error {
	done, err := m.turnOf(ctx, p)
	if err != nil {
		return err
	}
	defer done()
	if !m.stillLow(p) {
		return nil // another request was faster
	}
	have := m.owned(p)
	var (
		got    ledger.Holdings
		supply ledger.Supply
	)
	err = m.ask(ctx, "another address of "+p.Subnet.String(), func(ctx context.Context, l *ledger.Ledger) error {
		got, supply, err = l.Take(ctx, p.Subnet, p.dynamic, have)
		return err
	})
	m.mu.Lock()
	if err == nil || errors.Is(err, ledger.ErrFull) {
		p.reserve.supply = supply
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	return m.admit(ctx, p, got)
}

// stillLow reports whether the pool is there and needs more addresses.
func (m *Manager) stillLow(p *pool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pools[p.id] == p && p.low()
}

func (m *Manager) owned(p *pool) ledger.Holdings {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(p.reserve.owned)
}

// admit puts addresses that the ledger has for this host into its reserve. The caller
// has the pool's turn.
func (m *Manager) admit(ctx context.Context, p *pool, got ledger.Holdings) error {
	owned := m.owned(p)
	for base, b := range got {
		owned.Add(base, b)
	}
	if err := m.writeReserve(ctx, p, owned, slices.Collect(maps.Keys(got))); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p.own(got)
	return nil
}

// writeReserve makes durable what this host has of those shards.
func (m *Manager) writeReserve(ctx context.Context, p *pool, owned ledger.Holdings, bases []netip.Addr, also ...store.Op) error {
	m.mu.Lock()
	known := m.pools[p.id] == p
	m.mu.Unlock()
	if !known {
		return fmt.Errorf("%w: %s", ErrNoPool, p.id)
	}
	for _, base := range bases {
		op := store.Delete(p.id.reserveKey(base))
		if b := owned[base]; b != (ledger.Bits{}) {
			value, err := encode(reserveRecord{Version: recordVersion, Owned: b})
			if err != nil {
				return err
			}
			op = store.Set(p.id.reserveKey(base), value)
		}
		also = append(also, op)
	}
	for ops := range slices.Chunk(also, maxOps) {
		if _, err := m.kv.Apply(ctx, ops...); err != nil {
			return fmt.Errorf("write reserve of %s: %w", p.Subnet, err)
		}
	}
	return nil
}

// surrender takes addresses of one shard out of the reserve, those of them that
// nobody uses, and returns which. What is remembered of them is forgotten. The caller
// has the pool's turn, and the ledger has still to be told.
func (m *Manager) surrender(ctx context.Context, p *pool, base netip.Addr, b ledger.Bits) (ledger.Bits, error) {
	m.mu.Lock()
	var (
		forget []netip.Addr
		ops    []store.Op
	)
	b = b.And(p.reserve.owned[base])
	for a := range b.All(base) {
		l := p.leases[a]
		_, unsure := m.strays[p.id.leaseKey(a)]
		switch {
		case l == nil && unsure: // a lease that failed may be durable
			ops = append(ops, store.Delete(p.id.leaseKey(a)))
		case l == nil:
		case l.writing != nil || l.Released.IsZero():
			b = b.Without(ledger.Only(a))
		default:
			l.writing = make(chan struct{})
			forget = append(forget, a)
			ops = append(ops, store.Delete(p.id.leaseKey(a)))
		}
	}
	p.disown(base, b)
	owned := maps.Clone(p.reserve.owned)
	m.mu.Unlock()
	err := m.writeReserve(ctx, p, owned, []netip.Addr{base}, ops...)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range forget {
		l := p.leases[a]
		if err == nil {
			p.put(a, nil)
		}
		close(l.writing)
		l.writing = nil
	}
	if err != nil {
		p.own(ledger.Holdings{base: b})
		return ledger.Bits{}, err
	}
	return b, nil
}

// fetch makes one address this host's, wherever it is.
func (m *Manager) fetch(ctx context.Context, p *pool, a netip.Addr) error {
	return m.fromHolder(ctx, p, func(ctx context.Context) error {
		done, err := m.turnOf(ctx, p)
		if err != nil {
			return err
		}
		defer done()
		err = m.ask(ctx, fmt.Sprintf("address %s, which this host has not in reserve,", a), func(ctx context.Context, l *ledger.Ledger) error {
			return l.TakeAddr(ctx, p.Subnet, a, m.owned(p))
		})
		if err != nil {
			return err
		}
		return m.admit(ctx, p, ledger.Holdings{ledger.Base(a): ledger.Only(a)})
	})
}

// fromHolder does something with an address; if another host has that, that is asked to
// give it, and it is done again. The turn is not held meanwhile: that host may be
// asking this one.
func (m *Manager) fromHolder(ctx context.Context, p *pool, do func(context.Context) error) error {
	err := do(ctx)
	var held *ledger.HeldError
	if !errors.As(err, &held) {
		return err
	}
	if err := m.askHost(ctx, p, held.Host, held.Addr); err != nil {
		return fmt.Errorf("address %s is %w: %w", held.Addr, ErrInUse, err)
	}
	err = do(ctx)
	if errors.As(err, &held) {
		return fmt.Errorf("address %s is %w: %w", held.Addr, ErrInUse, err)
	}
	return err
}

// askHost asks a host to give an address, or any. Who asks for the same meanwhile gets
// the same answer.
func (m *Manager) askHost(ctx context.Context, p *pool, host string, a netip.Addr) error {
	if !m.cluster.alive(host) {
		return &ledger.NoAnswerError{Host: host}
	}
	answer := m.asking.DoChan(fmt.Sprint(host, p.Subnet, a), func() (any, error) {
		return nil, m.ask(context.WithoutCancel(ctx), "asking host "+host, func(ctx context.Context, l *ledger.Ledger) error {
			return l.Ask(ctx, host, p.Subnet, a)
		})
	})
	select {
	case got := <-answer:
		return got.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// share makes an address the network's on all hosts: its gateway, whichever that is
// if a is not valid, or an auxiliary one.
func (m *Manager) share(ctx context.Context, p *pool, a netip.Addr, gateway bool) error {
	return m.fromHolder(ctx, p, func(ctx context.Context) error {
		done, err := m.turnOf(ctx, p)
		if err != nil {
			return err
		}
		defer done()
		if a.IsValid() {
			if _, err := m.surrender(ctx, p, ledger.Base(a), ledger.Only(a)); err != nil {
				return err
			}
			if m.owned(p).Has(a) {
				return fmt.Errorf("address %s is %w by a container", a, ErrInUse)
			}
		}
		var r ledger.Pool
		err = m.ask(ctx, "a gateway or auxiliary address of the cluster", func(ctx context.Context, l *ledger.Ledger) error {
			r, err = l.Share(ctx, p.Subnet, a, gateway, p.all)
			return err
		})
		if err != nil {
			return err
		}
		return m.follow(ctx, p, r)
	})
}

// all yields the addresses of the pool that an interface can have, the first ones.
func (p *pool) all(yield func(netip.Addr) bool) {
	n := 0
	for a := p.hosts.First; p.hosts.Contains(a) && n < 1<<16 && yield(a); a = a.Next() {
		n++
	}
}

// follow notes what the ledger says of the network's own addresses.
func (m *Manager) follow(ctx context.Context, p *pool, r ledger.Pool) error {
	m.mu.Lock()
	next := p.poolRecord
	m.mu.Unlock()
	if next.Gateway == r.Gateway && slices.Equal(next.Aux, r.Aux) {
		return nil
	}
	next.Gateway, next.Aux = r.Gateway, slices.Clone(r.Aux)
	value, err := encode(next)
	if err != nil {
		return err
	}
	if err := m.writeReserve(ctx, p, nil, nil, store.Set(p.id.key(), value)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p.Gateway, p.Aux = next.Gateway, next.Aux // the rest is read without the lock
	return nil
}

// askOthers asks the other hosts for an address that they do not use, whoever has
// most first. None to be had is [ledger.ErrFull].
func (m *Manager) askOthers(ctx context.Context, p *pool) error {
	var holders map[string]int
	err := m.ask(ctx, "another address of "+p.Subnet.String(), func(ctx context.Context, l *ledger.Ledger) (err error) {
		holders, err = l.Holders(ctx, p.Subnet, p.dynamic)
		return err
	})
	if err != nil {
		return err
	}
	hosts := slices.SortedFunc(maps.Keys(holders), func(a, b string) int { return holders[b] - holders[a] })
	for len(hosts) > 0 {
		err := m.askHost(ctx, p, hosts[0], netip.Addr{})
		if err == nil {
			if err = m.refill(ctx, p); !errors.Is(err, ledger.ErrFull) {
				return err
			}
			if ctx.Err() == nil {
				continue // other requests got what it gave
			}
		}
		m.log.WithField("pool", p.Subnet).Debugf("no address of another host: %v", err)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		hosts = hosts[1:]
	}
	return m.refill(ctx, p) // another request may have been given more than it needs
}
