package ipam

import (
	"context"
	"fmt"
	"net/netip"
)

// BindPool says that a network was made of the pool; the order in which the pools of
// a network are bound is that in which they are used. Binding it again to the same
// network is fine; to another is [ErrInUse] and names the one that has it.
func (m *Manager) BindPool(id PoolID, network string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pools[m.resolveLocked(id)]
	switch {
	case p == nil:
		return fmt.Errorf("%w: %s; it was not asked for, or was freed because no network took it up in %s", ErrNoPool, id, m.confirm)
	case p.writing != nil:
		return fmt.Errorf("%w: %s is just being made or freed", ErrNoPool, id)
	case p.network == network:
		return nil
	case p.network != "":
		return fmt.Errorf("address pool %s is %w by network %s", id, ErrInUse, short(p.network))
	}
	p.place = 0
	for _, o := range m.pools {
		if o.network == network {
			p.place = max(p.place, o.place+1)
		}
	}
	p.network, p.released = network, false
	m.wantLocked(p)
	return nil
}

// UnbindPool says that the network is gone. It frees the pool if the engine has
// released it already; otherwise the pool has the time to confirm left. A pool
// that is not bound to that network is not touched.
func (m *Manager) UnbindPool(ctx context.Context, id PoolID, network string) error {
	m.mu.Lock()
	id = m.resolveLocked(id)
	p := m.pools[id]
	if p == nil || (p.network != "" && p.network != network) {
		m.mu.Unlock()
		return nil
	}
	if p.network != "" {
		p.network, p.since = "", m.now()
	}
	m.mu.Unlock()
	return m.freeReleased(ctx, id)
}

// BindAddress says that an endpoint was made with the address. Binding it again
// to the same endpoint is fine; to another is [ErrInUse] and names the one that
// has it; an address that is not leased to a container is [ErrNotLeased].
func (m *Manager) BindAddress(id PoolID, addr netip.Addr, endpoint string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	addr = addr.Unmap()
	p := m.pools[m.holderLocked(id, addr)]
	if p == nil {
		return fmt.Errorf("%w: %s", ErrNoPool, id)
	}
	l := p.leases[addr]
	switch {
	case l == nil || l.writing != nil || p.writing != nil || !l.Released.IsZero() || l.endpoint == "" && !p.mayGive(addr):
		return fmt.Errorf("address %s of pool %s is %w; it was not asked for, or was freed because no endpoint took it up in %s",
			addr, id, ErrNotLeased, m.confirm)
	case !l.ofContainer():
		return fmt.Errorf("address %s is %w by %s", addr, ErrInUse, l.holder(p))
	case l.endpoint != "" && l.endpoint != endpoint:
		return fmt.Errorf("address %s is %w by endpoint %s", addr, ErrInUse, short(l.endpoint))
	}
	l.endpoint = endpoint
	return nil
}

// UnbindAddress says that the endpoint is gone. The lease has the time to confirm
// left; the engine releases it before. What is not bound to that endpoint is not
// touched.
func (m *Manager) UnbindAddress(id PoolID, addr netip.Addr, endpoint string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	addr = addr.Unmap()
	p := m.pools[m.holderLocked(id, addr)]
	if p == nil {
		return
	}
	if l := p.leases[addr]; l != nil && endpoint != "" && l.endpoint == endpoint {
		l.endpoint, l.since = "", m.now()
	}
}
