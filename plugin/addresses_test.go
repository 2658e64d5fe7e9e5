package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/ournet/ournet/ipam"
)

// fakeAddresses is an address manager without wit: it hands out the lowest free
// address and keeps no records. Its answers do not change when ours gets cleverer.
type fakeAddresses struct {
	mu    sync.Mutex // guards the rest
	next  int
	pools map[ipam.PoolID]*fakePool
	fail  error // what the bind methods answer
}

type fakePool struct {
	subnet, within netip.Prefix
	released       bool
	networks       []string
	leases         map[netip.Addr]*fakeLease
}

type fakeLease struct {
	name     string
	gateway  bool
	endpoint string
}

var _ Addresses = (*fakeAddresses)(nil)

func newFakeAddresses() *fakeAddresses {
	return &fakeAddresses{pools: make(map[ipam.PoolID]*fakePool)}
}

func (f *fakeAddresses) dump(b *strings.Builder) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for id, p := range f.pools {
		lines = append(lines, fmt.Sprintf("pool %s within %s released %t networks %v\n", id, p.within, p.released, p.networks))
		for a, l := range p.leases {
			lines = append(lines, fmt.Sprintf("lease %s %s %+v\n", id, a, *l))
		}
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, ""))
}

func (f *fakeAddresses) Pools() []ipam.PoolInfo { return nil }

func (f *fakeAddresses) RequestPool(_ context.Context, req ipam.PoolRequest) (ipam.PoolID, netip.Prefix, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	subnet := req.Subnet
	if !subnet.IsValid() {
		text := fmt.Sprintf("10.200.%d.0/24", f.next)
		if req.V6 {
			text = fmt.Sprintf("fd77:77:77:%x::/64", f.next)
		}
		f.next++
		subnet = netip.MustParsePrefix(text)
	}
	id := ipam.PoolID(req.Space + "/" + subnet.String())
	if p, ok := f.pools[id]; ok && len(p.networks) > 0 {
		return "", netip.Prefix{}, fmt.Errorf("subnet %s is in use", subnet)
	}
	within := req.Range
	if !within.IsValid() {
		within = subnet
	}
	if p, ok := f.pools[id]; ok {
		p.released, p.within = false, within
		return id, subnet, nil
	}
	f.pools[id] = &fakePool{subnet: subnet, within: within, leases: make(map[netip.Addr]*fakeLease)}
	return id, subnet, nil
}

func (f *fakeAddresses) ReleasePool(_ context.Context, id ipam.PoolID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p, ok := f.pools[id]; ok {
		p.released = true
		f.drop(id)
	}
	return nil
}

func (f *fakeAddresses) drop(id ipam.PoolID) {
	if p := f.pools[id]; p.released && len(p.networks) == 0 {
		delete(f.pools, id)
	}
}

func (f *fakeAddresses) BindPool(id ipam.PoolID, network string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.pools[id]
	if !ok {
		return fmt.Errorf("pool %s is not known", id)
	}
	if f.fail != nil {
		return f.fail
	}
	if !slices.Contains(p.networks, network) {
		p.networks = append(p.networks, network)
	}
	return nil
}

func (f *fakeAddresses) AddressSpaces() string { return ipam.SpaceHost }

func (f *fakeAddresses) UnbindPool(_ context.Context, id ipam.PoolID, network string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p, ok := f.pools[id]; ok {
		p.networks = slices.DeleteFunc(p.networks, func(n string) bool { return n == network })
		f.drop(id)
	}
	return nil
}

func (f *fakeAddresses) RequestAddress(_ context.Context, req ipam.AddressRequest) (netip.Prefix, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.pools[req.Pool]
	if !ok {
		return netip.Prefix{}, fmt.Errorf("pool %s is not known", req.Pool)
	}
	for a, l := range p.leases {
		if req.Gateway && l.gateway || req.Name != "" && l.name == req.Name && (!req.Address.IsValid() || req.Address == a) {
			return netip.PrefixFrom(a, p.subnet.Bits()), nil
		}
	}
	addr := req.Address
	if !addr.IsValid() {
		addr = p.within.Addr().Next()
		for p.leases[addr] != nil {
			addr = addr.Next()
		}
	}
	if !p.subnet.Contains(addr) {
		return netip.Prefix{}, errors.New("address is outside the pool")
	}
	if l := p.leases[addr]; l != nil && l.endpoint != "" {
		return netip.Prefix{}, errors.New("address is in use")
	}
	p.leases[addr] = &fakeLease{name: req.Name, gateway: req.Gateway}
	return netip.PrefixFrom(addr, p.subnet.Bits()), nil
}

func (f *fakeAddresses) ReleaseAddress(_ context.Context, id ipam.PoolID, addr netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p, ok := f.pools[id]; ok {
		delete(p.leases, addr)
	}
	return nil
}

func (f *fakeAddresses) BindAddress(id ipam.PoolID, addr netip.Addr, endpoint string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.pools[id]
	if !ok || p.leases[addr] == nil {
		return fmt.Errorf("address %s of pool %s was not handed out", addr, id)
	}
	if f.fail != nil {
		return f.fail
	}
	l := p.leases[addr]
	if l.endpoint != "" && l.endpoint != endpoint {
		return fmt.Errorf("address %s has another endpoint", addr)
	}
	l.endpoint = endpoint
	return nil
}

func (f *fakeAddresses) UnbindAddress(id ipam.PoolID, addr netip.Addr, endpoint string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p, ok := f.pools[id]; ok && p.leases[addr] != nil && p.leases[addr].endpoint == endpoint {
		p.leases[addr].endpoint = ""
	}
}
