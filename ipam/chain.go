package ipam

import (
	"cmp"
	"net/netip"
	"slices"
)

// chain returns the pools that a request is tried on, in turn. The engine asks one
// pool of a network and takes no other when that is full, so the network's others of
// that family are tried here. A given address and the gateway are of the pool that
// is asked. A name has its address back before anything else, in whichever pool.
func (m *Manager) chain(req AddressRequest) []PoolID {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := m.resolveLocked(req.Pool)
	p := m.pools[id]
	if p == nil || p.network == "" || req.Address.IsValid() || req.Gateway {
		return []PoolID{id}
	}
	pools := m.siblingsLocked(p)
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

// siblingsLocked returns the pools of a network, of one family, in the order in which
// they are used: first those with a range, whose user has said where addresses are to
// come from, then as the engine told of them. That alone says little, since the client
// tells the engine of several --subnet in any order (docker/cli
// cli/command/network/create.go, createIPAMConfig).
func (m *Manager) siblingsLocked(p *pool) []*pool {
	var all []*pool
	for _, o := range m.pools {
		if o.network == p.network && o.Subnet.Addr().Is4() == p.Subnet.Addr().Is4() {
			all = append(all, o)
		}
	}
	rank := func(p *pool) int {
		if p.Range.IsValid() {
			return 0
		}
		return 1
	}
	slices.SortFunc(all, func(a, b *pool) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.place, b.place)) })
	return all
}

// holderLocked returns the pool that has an address, which the engine believes to be
// of the pool with that id: if not this, it is another one of the chain.
func (m *Manager) holderLocked(id PoolID, addr netip.Addr) PoolID {
	id = m.resolveLocked(id)
	p := m.pools[id]
	if p == nil || p.network == "" || p.Subnet.Contains(addr) {
		return id
	}
	for _, o := range m.siblingsLocked(p) {
		if o.Subnet.Contains(addr) {
			return o.id
		}
	}
	return id
}
