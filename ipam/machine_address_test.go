package ipam_test

import (
	"errors"
	"maps"
	"net/netip"
	"slices"

	"pgregory.net/rapid"

	"github.com/ournet/ournet/ipam"
)

func (m *machine) requestAddress(rt *rapid.T) {
	defer m.failing(rt)()
	id, p := m.pick(rt)
	req := ipam.AddressRequest{Pool: id, Name: rapid.SampledFrom([]string{"", "", "a", "b", "c"}).Draw(rt, "name")}
	kind := "dynamic"
	switch rapid.SampledFrom([]string{"any", "any", "any", "static", "gateway", "given gateway"}).Draw(rt, "kind") {
	case "static":
		req.Address, kind = near(rt, p), "static"
		if req.Name == "" && p != nil && p.network == "" {
			kind = "reserved"
		}
	case "gateway":
		req.Gateway, req.Name, kind = true, "", "gateway"
	case "given gateway":
		req.Gateway, req.Name, req.Address, kind = true, "", near(rt, p), "gateway"
	}
	got, err := m.RequestAddress(m.t.Context(), req)
	if p == nil {
		if !errors.Is(err, ipam.ErrNoPool) {
			rt.Fatalf("RequestAddress(%+v): %v", req, err)
		}
		return
	}
	if err != nil {
		m.refused(rt, p, req, err)
		return
	}
	addr := got.Addr()
	if got.Bits() != p.subnet.Bits() || !p.usable(addr) || (req.Address.IsValid() && addr != req.Address) {
		rt.Fatalf("RequestAddress(%+v) = %s", req, got)
	}
	if l, leased := p.leases[addr]; leased {
		if !repeats(l, kind, req.Name) {
			rt.Fatalf("RequestAddress(%+v) = %s, which is leased: %+v", req, got, l)
		}
		l.since = m.clock.Now()
		p.leases[addr] = l
		return
	}
	m.granted(rt, p, req, addr, kind)
	if req.Name == "" && kind == "dynamic" {
		return
	}
	if again, err := m.RequestAddress(m.t.Context(), req); m.kv.fail == "" && (err != nil || again != got) {
		rt.Fatalf("RequestAddress(%+v) = %s, and repeated %s, %v", req, got, again, err)
	}
}

func repeats(l modelLease, kind, name string) bool {
	if l.kind == "gateway" || kind == "gateway" {
		return l.kind == kind
	}
	if l.kind == "reserved" || kind == "reserved" {
		return l.kind == kind
	}
	return l.endpoint == "" && l.name == name && (name != "" || l.kind == "static" && kind == "static")
}

func (m *machine) granted(rt *rapid.T, p *modelPool, req ipam.AddressRequest, addr netip.Addr, kind string) {
	if kind == "dynamic" && !p.dynamic(addr) {
		rt.Fatalf("RequestAddress(%+v) = %s, not in range %s", req, addr, p.rng)
	}
	if had, ok := p.memory[req.Name]; ok && kind == "dynamic" && had != addr && p.dynamic(had) {
		_, bound := p.leases[had]
		if !bound && !p.holds(req.Name) {
			rt.Fatalf("RequestAddress(%+v) = %s, but %s was its last and is free", req, addr, had)
		}
	}
	for name, had := range p.memory {
		if had == addr || name == req.Name {
			delete(p.memory, name)
		}
	}
	p.leases[addr] = modelLease{kind: kind, name: req.Name, since: m.clock.Now()}
}

// holds reports whether the name has a lease.
func (p *modelPool) holds(name string) bool {
	for _, l := range p.leases {
		if l.name == name {
			return true
		}
	}
	return false
}

func (m *machine) refused(rt *rapid.T, p *modelPool, req ipam.AddressRequest, err error) {
	_, leased := p.leases[req.Address]
	free := func(ok func(netip.Addr) bool) bool { // the pools that can be full are small
		a := p.subnet.Addr()
		for range 16 {
			if _, taken := p.leases[a]; ok(a) && !taken {
				return true
			}
			a = a.Next()
		}
		return false
	}
	switch {
	case errors.Is(err, errDisk):
	case errors.Is(err, ipam.ErrInUse) && leased:
	case errors.Is(err, ipam.ErrRequest) && req.Address.IsValid() && !p.usable(req.Address):
	case errors.Is(err, ipam.ErrExhausted) && req.Gateway && !free(p.usable):
	case errors.Is(err, ipam.ErrExhausted) && !req.Gateway && !free(p.dynamic):
	default:
		rt.Fatalf("RequestAddress(%+v) with %+v: %v", req, p.leases, err)
	}
}

// leased draws an address that is leased, if there is one.
func leased(rt *rapid.T, p *modelPool) netip.Addr {
	if p == nil || len(p.leases) == 0 || rapid.IntRange(0, 9).Draw(rt, "stray") == 0 {
		return near(rt, p)
	}
	return rapid.SampledFrom(slices.SortedFunc(maps.Keys(p.leases), netip.Addr.Compare)).Draw(rt, "address")
}

func (m *machine) releaseAddress(rt *rapid.T) {
	defer m.failing(rt)()
	id, p := m.pick(rt)
	addr := leased(rt, p)
	err := m.ReleaseAddress(m.t.Context(), id, addr)
	if err != nil && !errors.Is(err, errDisk) {
		rt.Fatalf("ReleaseAddress(%s, %s): %v", id, addr, err)
	}
	if p == nil || err != nil {
		return
	}
	l, ok := p.leases[addr]
	ofNetwork := l.kind == "gateway" || l.kind == "reserved"
	if ok && l.endpoint == "" && (!ofNetwork || p.network == "") {
		p.end(addr)
	}
}

func (p *modelPool) end(addr netip.Addr) {
	name := p.leases[addr].name
	delete(p.leases, addr)
	if name != "" && !p.holds(name) {
		p.memory[name] = addr
	}
}

func (m *machine) bindAddress(rt *rapid.T) {
	id, p := m.pick(rt)
	addr := leased(rt, p)
	endpoint := rapid.SampledFrom([]string{"ep1", "ep2"}).Draw(rt, "endpoint")
	err := m.BindAddress(id, addr, endpoint)
	if p == nil {
		return
	}
	l, ok := p.leases[addr]
	want := ok && (l.kind == "static" || l.kind == "dynamic") && (l.endpoint == "" || l.endpoint == endpoint)
	if want != (err == nil) {
		rt.Fatalf("BindAddress(%s, %s) of %+v: %v", addr, endpoint, l, err)
	}
	if want {
		l.endpoint = endpoint
		p.leases[addr] = l
	}
}

func (m *machine) unbindAddress(rt *rapid.T) {
	id, p := m.pick(rt)
	addr := leased(rt, p)
	endpoint := rapid.SampledFrom([]string{"ep1", "ep2"}).Draw(rt, "endpoint")
	m.UnbindAddress(id, addr, endpoint)
	if p == nil {
		return
	}
	if l := p.leases[addr]; l.endpoint == endpoint {
		l.endpoint, l.since = "", m.clock.Now()
		p.leases[addr] = l
	}
}
