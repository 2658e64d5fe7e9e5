package ipam

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/ournet/ournet/internal/store"
)

// maxOps bounds the keys in one transaction: a cluster store takes no more.
const maxOps = 64

// ReleaseAddress ends the lease of an address. Of an address that is not leased
// it does nothing; nor, though it reports success, of one that is bound to an
// endpoint, and of the gateway and auxiliary addresses of a bound pool. Such a
// release is the engine's roll-back of something that failed because of the
// rightful holder; and the addresses of a network go with its pool.
func (m *Manager) ReleaseAddress(ctx context.Context, id PoolID, addr netip.Addr) error {
	addr = addr.Unmap()
	m.mu.Lock()
	id = m.holderLocked(id, addr)
	m.mu.Unlock()
	_, err := m.end(ctx, id, addr, func(p *pool, l *lease) bool {
		return l.Released.IsZero() && l.endpoint == "" && (l.ofContainer() || l.ofNetwork() && p.network == "")
	})
	if err != nil {
		return fmt.Errorf("release address %s: %w", addr, err)
	}
	return nil
}

// FreeAddress is [Manager.UnbindAddress] and [Manager.ReleaseAddress] at one time: nobody
// is given the lease that is about to end. What is not bound to that endpoint is not
// touched. If it fails, the lease has the time to confirm left.
func (m *Manager) FreeAddress(ctx context.Context, id PoolID, addr netip.Addr, endpoint string) error {
	addr = addr.Unmap()
	m.mu.Lock()
	holder := m.holderLocked(id, addr)
	m.mu.Unlock()
	_, err := m.end(ctx, holder, addr, func(_ *pool, l *lease) bool {
		return endpoint != "" && l.endpoint == endpoint
	})
	if err != nil {
		m.UnbindAddress(id, addr, endpoint)
		return fmt.Errorf("free address %s: %w", addr, err)
	}
	return nil
}

// end ends the lease of addr, or the memory of it, if there is one of which want
// reports true. It reports whether it did.
func (m *Manager) end(ctx context.Context, id PoolID, addr netip.Addr, want func(*pool, *lease) bool) (bool, error) {
	for {
		m.mu.Lock()
		p, l, wait := m.findLocked(id, addr)
		if wait == nil && (l == nil || !want(p, l)) {
			m.mu.Unlock()
			return false, nil
		}
		var after *leaseRecord
		if wait == nil {
			l.writing = make(chan struct{})
			if l.Released.IsZero() {
				after = p.afterRelease(addr, m.now())
			}
		}
		m.mu.Unlock()
		if wait == nil {
			err := m.writeAfter(ctx, p, addr, after)
			return err == nil, err
		}
		if err := await(ctx, wait); err != nil {
			return false, err
		}
	}
}

// findLocked returns the lease of addr, or what to wait for before asking again.
func (m *Manager) findLocked(id PoolID, addr netip.Addr) (p *pool, l *lease, wait <-chan struct{}) {
	if p = m.pools[id]; p == nil {
		return nil, nil, nil
	}
	if p.writing != nil {
		return p, nil, p.writing
	}
	if l = p.leases[addr]; l != nil && l.writing != nil {
		return p, nil, l.writing
	}
	return p, l, nil
}

// writeAfter makes durable what is left of a lease of which writing is set, nil
// meaning nothing; and only then lets the address go, since one that the store
// has leased must not be given to someone else.
func (m *Manager) writeAfter(ctx context.Context, p *pool, addr netip.Addr, after *leaseRecord) error {
	key := p.id.leaseKey(addr)
	value, err := after.encode()
	if err == nil {
		op := store.Delete(key)
		if after != nil {
			op = store.Set(key, value)
		}
		_, err = m.kv.Apply(ctx, op)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := p.leases[addr]
	m.settleLocked(key, stray{pool: p.id, addr: addr}, err)
	if err != nil {
		err = fmt.Errorf("write release of %s: %w", addr, err)
	} else {
		var left *lease
		if after != nil {
			left = &lease{leaseRecord: *after, since: l.since}
		}
		p.put(addr, left)
	}
	close(l.writing)
	l.writing = nil
	return err
}

// ReleasePool gives up a pool with all of its leases. A pool that is bound to a
// network is only marked, and goes when [Manager.UnbindPool] comes: the engine
// releases the pools of a network before it removes the network. An id that is
// not known, or not an id at all, is fine.
func (m *Manager) ReleasePool(ctx context.Context, id PoolID) error {
	m.mu.Lock()
	id = m.resolveLocked(id)
	p := m.pools[id]
	if p == nil {
		m.mu.Unlock()
		return nil
	}
	p.released = true
	m.mu.Unlock()
	return m.freeReleased(ctx, id)
}

// freeReleased frees the pool if it is released and no network has it.
func (m *Manager) freeReleased(ctx context.Context, id PoolID) error {
	_, err := m.freePool(ctx, id, func(p *pool) bool { return p.released && p.network == "" })
	if err != nil {
		return fmt.Errorf("release address pool %s: %w", id, err)
	}
	return nil
}

// freePool removes a pool with its leases if want reports true of it, and
// reports whether it did.
func (m *Manager) freePool(ctx context.Context, id PoolID, want func(*pool) bool) (bool, error) {
	p, err := m.closePool(ctx, id, want)
	if p == nil || err != nil {
		return false, err
	}
	done, err := m.turnOf(ctx, p)
	if err == nil {
		defer done()
		err = m.drain(ctx, p)
	}
	for gone := false; err == nil && !gone; {
		gone, err = m.removeSome(ctx, p)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		delete(m.pools, id)
		m.wakeLocked()
	}
	close(p.writing)
	p.writing = nil
	return err == nil, err
}

// closePool makes everyone else wait for the pool from now on. It returns nil if
// there is none that want reports true of.
func (m *Manager) closePool(ctx context.Context, id PoolID, want func(*pool) bool) (*pool, error) {
	for {
		m.mu.Lock()
		p := m.pools[id]
		var wait <-chan struct{}
		switch {
		case p == nil:
		case p.writing != nil:
			wait = p.writing
		case !want(p):
			p = nil
		default:
			p.writing = make(chan struct{})
		}
		m.mu.Unlock()
		if wait == nil {
			return p, nil
		}
		if err := await(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// drain waits for the writes that were in flight when the pool was closed.
func (m *Manager) drain(ctx context.Context, p *pool) error {
	for {
		var wait <-chan struct{}
		m.mu.Lock()
		for _, l := range p.leases {
			if l.writing != nil {
				wait = l.writing
				break
			}
		}
		m.mu.Unlock()
		if wait == nil {
			return nil
		}
		if err := await(ctx, wait); err != nil {
			return err
		}
	}
}

// removeSome removes as many leases of a closed pool as one transaction takes,
// and with the last of them the pool. Its own record goes last, so that whatever
// happens in between, no lease is left without a pool.
func (m *Manager) removeSome(ctx context.Context, p *pool) (done bool, err error) {
	strays := make(map[string]stray)
	var (
		ops      []store.Op
		reserves []netip.Addr
	)
	remove := func(key string, s stray) {
		ops = append(ops, store.Delete(key))
		strays[key] = s
	}
	m.mu.Lock()
	for addr := range p.leases {
		if len(ops) < maxOps-2 {
			remove(p.id.leaseKey(addr), stray{pool: p.id, addr: addr})
		}
	}
	for key, s := range m.strays {
		if _, twice := strays[key]; s.pool == p.id && s.addr.IsValid() && !twice && len(ops) < maxOps-2 {
			remove(key, *s)
		}
	}
	if p.isShared() {
		for base := range p.reserve.owned {
			if len(ops) < maxOps-2 {
				ops = append(ops, store.Delete(p.id.reserveKey(base)))
				reserves = append(reserves, base)
			}
		}
	}
	done = len(ops) < maxOps-2
	m.mu.Unlock()
	if done {
		remove(p.id.key(), stray{pool: p.id})
	}
	if done && p.isShared() {
		leaving, err := p.leaving()
		if err != nil {
			return false, err
		}
		ops = append(ops, leaving)
	}
	_, err = m.kv.Apply(ctx, ops...)
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, s := range strays {
		m.settleLocked(key, s, err)
		if err == nil && s.addr.IsValid() {
			p.put(s.addr, nil)
		}
	}
	for _, base := range reserves {
		if err == nil {
			p.disown(base, p.reserve.owned[base])
		}
	}
	if err != nil {
		err = fmt.Errorf("remove %d records of pool %s: %w", len(ops), p.Subnet, err)
	}
	return done, err
}
