package ipam

import (
	"net/netip"
	"slices"
	"strings"
)

// PoolInfo describes a pool for inspection.
type PoolInfo struct {
	ID     PoolID
	Subnet netip.Prefix
	// Range bounds the addresses that are chosen for containers; not valid
	// means the whole subnet.
	Range netip.Prefix
	// Network is the network that has the pool, "" for none.
	Network string
	// Used is how many addresses are leased, with gateway and auxiliary ones.
	Used uint64
	// Free is how many addresses are left to be chosen for containers;
	// [math.MaxUint64] if there are more. Of a pool that hosts share it is how many
	// this host has left and could get, when it last looked.
	Free uint64
	// Leases are the leased addresses in ascending order.
	Leases []LeaseInfo
}

// LeaseInfo describes a leased address for inspection.
type LeaseInfo struct {
	Address netip.Addr
	// Kind is "gateway", "reserved", "static" or "dynamic".
	Kind string
	// Name is the container's name, where the engine told it.
	Name string
	// Endpoint is the endpoint that has the address, "" for none.
	Endpoint string
}

// Pools returns all pools, ordered by id.
func (m *Manager) Pools() []PoolInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	infos := make([]PoolInfo, 0, len(m.pools))
	for _, p := range m.pools {
		infos = append(infos, p.info())
	}
	slices.SortFunc(infos, func(a, b PoolInfo) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return infos
}

func (p *pool) info() PoolInfo {
	info := PoolInfo{ID: p.id, Subnet: p.Subnet, Range: p.Range, Network: p.network, Free: p.dynamic.Len()}
	for addr, l := range p.leases {
		if !l.Released.IsZero() {
			continue
		}
		info.Used++
		if p.dynamic.Contains(addr) && info.Free > 0 && !p.isShared() {
			info.Free--
		}
		info.Leases = append(info.Leases, LeaseInfo{Address: addr, Kind: string(l.Kind), Name: l.Name, Endpoint: l.endpoint})
	}
	if p.isShared() {
		info.Free = p.reserve.supply.Free + uint64(p.spareDynamic()) //nolint:gosec // not negative
		for addr := range p.memory.oldest {
			if p.mayGive(addr) && p.dynamic.Contains(addr) {
				info.Free++
			}
		}
	}
	slices.SortFunc(info.Leases, func(a, b LeaseInfo) int { return a.Address.Compare(b.Address) })
	return info
}
