package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/ournet/ournet/internal/store"
)

// RequestAddress leases an address of a pool and returns it with the subnet's
// length. It is durable on return.
//
// A repeated request gets the same answer where it can be told from a new one:
// for the gateway always, for a given address or a name until an endpoint has it.
// The range of the pool bounds only addresses that are chosen here.
func (m *Manager) RequestAddress(ctx context.Context, req AddressRequest) (netip.Prefix, error) {
	req.Address = req.Address.Unmap()
	req.Name = cleanName(req.Name)
	var full error
	for _, id := range m.chain(req) {
		req.Pool = id
		got, err := m.requestOf(ctx, req)
		if err == nil {
			return got, nil
		}
		full = errors.Join(full, err)
		if !errors.Is(err, ErrExhausted) && !errors.Is(err, ErrAway) {
			break
		}
	}
	return netip.Prefix{}, fmt.Errorf("request address: %w", full)
}

// requestOf leases an address of the one pool that the request names.
func (m *Manager) requestOf(ctx context.Context, req AddressRequest) (netip.Prefix, error) {
	var t tried
	if err := m.checkFirst(ctx, req.Pool); err != nil {
		return netip.Prefix{}, err
	}
	for {
		w, g, err := m.reserve(req, t)
		switch {
		case err != nil:
			return netip.Prefix{}, err
		case g.wait != nil:
			err = await(ctx, g.wait)
		case g.need != needNothing:
			err = m.meet(ctx, w.p, g, &t)
		default:
			if w.l != nil {
				err = m.write(ctx, w)
			}
			if err == nil {
				return netip.PrefixFrom(w.addr, w.p.Subnet.Bits()), nil
			}
		}
		if err != nil {
			return netip.Prefix{}, err
		}
	}
}

// reserve decides on a request, and reserves the answer if that is to be
// written. What is to be waited for or met first is in the grant.
func (m *Manager) reserve(req AddressRequest, t tried) (w leaseWrite, g grant, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pools[req.Pool]
	if p == nil {
		return leaseWrite{}, grant{}, fmt.Errorf("%w: %s", ErrNoPool, req.Pool)
	}
	if p.writing != nil {
		return leaseWrite{}, grant{wait: p.writing}, nil
	}
	now := m.now()
	g, err = p.choose(req, t, now, m.confirm)
	if err != nil || g.wait != nil || g.need != needNothing {
		return leaseWrite{p: p}, g, err
	}
	if g.record != nil {
		w = beginLease(p, g.addr, *g.record, now)
		m.wantLocked(p)
		return w, g, nil
	}
	l := p.leases[g.addr]
	if l.endpoint == "" {
		l.since = now
	}
	if _, unsure := m.strays[p.id.leaseKey(g.addr)]; unsure {
		return beginLease(p, g.addr, l.leaseRecord, now), g, nil
	}
	return leaseWrite{p: p, addr: g.addr}, g, nil
}

// leaseWrite is a lease that is reserved, and is durable when it is written.
type leaseWrite struct {
	p    *pool
	addr netip.Addr
	// l is the reserved lease; nil means that there is nothing to write.
	l *lease
	// before is what was there, to go back to.
	before *lease
}

// beginLease reserves addr for a lease that is to be written. The caller holds
// the lock, and nobody else is writing at addr.
func beginLease(p *pool, addr netip.Addr, r leaseRecord, now time.Time) leaseWrite {
	w := leaseWrite{p: p, addr: addr, before: p.leases[addr]}
	w.l = &lease{leaseRecord: r, since: now, writing: make(chan struct{})}
	if w.before != nil && w.before.Released.IsZero() {
		w.l.endpoint = w.before.endpoint
	}
	p.put(addr, w.l)
	return w
}

// write makes a reserved lease durable, or takes it back.
func (m *Manager) write(ctx context.Context, w leaseWrite) error {
	value, err := w.l.encode()
	key := w.p.id.leaseKey(w.addr)
	if err == nil {
		_, err = m.kv.Apply(ctx, store.Set(key, value))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settleLocked(key, stray{pool: w.p.id, addr: w.addr}, err)
	if err != nil {
		w.p.put(w.addr, w.before)
		err = fmt.Errorf("write lease of %s: %w", w.addr, err)
	}
	close(w.l.writing)
	w.l.writing = nil
	return err
}
