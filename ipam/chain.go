package ipam

import (
	"cmp"
	"net/netip"
	"slices"
)

// chain returns the pools that a request is tried on, in turn. The engine asks one
// pool of a network and takes no other when that is full, so the network's next ones
// of that family are tried here. A given address and the gateway are of the pool that
// is asked. A name has its address back before anything else, in whichever pool.
func (m *Manager) chain(req AddressRequest) []PoolID {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := m.resolveLocked(req.Pool)
	p := m.pools[id]
	if p == nil || p.network == "" || req.Address.IsValid() || req.Gateway {
		return []PoolID{id}
	}
	pools := m.nextLocked(p)
	if req.Name != "" {
		had := func(p *pool) bool { _, ok := p.chooseNamed(req.Name); return ok }
		if i := slices.IndexFunc(pools, had); i > 0 {
			pools = slices.Insert(pools, 0, pools[i]) // which may come twice, to no harm
		}
	}
	ids := make([]PoolID, 0, len(pools))
	for _, p := range pools {
		ids = append(ids, p.id)
	}
	return ids
}

// nextLocked returns the pool with those of its network and family that come after it.
func (m *Manager) nextLocked(p *pool) []*pool {
	var all []*pool
	for _, o := range m.pools {
		if o == p || o.network == p.network && o.place > p.place && o.Subnet.Addr().Is4() == p.Subnet.Addr().Is4() {
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b *pool) int { return cmp.Compare(a.place, b.place) })
	return all
}

// holderLocked returns the pool that has an address, which the engine believes to be
// of the pool with that id: if not this, it is one that came after it in the chain.
func (m *Manager) holderLocked(id PoolID, addr netip.Addr) PoolID {
	id = m.resolveLocked(id)
	p := m.pools[id]
	if p == nil || p.network == "" || p.Subnet.Contains(addr) {
		return id
	}
	for _, o := range m.nextLocked(p) {
		if o.Subnet.Contains(addr) {
			return o.id
		}
	}
	return id
}
