package ipam_test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ournet/ournet/internal/addrset"
	"github.com/ournet/ournet/internal/store/memstore"
	"github.com/ournet/ournet/ipam"
)

// machine is the manager beside a plain model of what it may have given out.
type machine struct {
	*world

	pools map[ipam.PoolID]*modelPool
}

type modelPool struct {
	subnet, rng netip.Prefix
	auto        bool
	network     string
	released    bool
	since       time.Time
	leases      map[netip.Addr]modelLease
	// memory is the address that a name gave back last.
	memory map[string]netip.Addr
}

type modelLease struct {
	kind, name, endpoint string
	since                time.Time
}

// usable mirrors RFC 3021 and RFC 6164 by hand.
func (p *modelPool) usable(a netip.Addr) bool {
	r := addrset.RangeOf(p.subnet)
	if p.subnet.Addr().BitLen()-p.subnet.Bits() < 2 {
		return r.Contains(a)
	}
	return r.Contains(a) && a != r.First && (a != r.Last || a.Is6())
}

func (p *modelPool) dynamic(a netip.Addr) bool {
	return p.usable(a) && (!p.rng.IsValid() || p.rng.Contains(a))
}

func TestManager_stateMachine(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{world: newWorld(t), pools: make(map[ipam.PoolID]*modelPool)}
		m.kv.KV = memstore.New()
		m.routes = []netip.Prefix{netip.MustParsePrefix("10.9.0.32/28"), netip.MustParsePrefix("0.0.0.0/0")}
		m.blocks = []ipam.Block{{Base: netip.MustParsePrefix("10.9.0.0/26"), Size: 28}, {Base: netip.MustParsePrefix("fd09::/62"), Size: 64}}
		m.open()
		rt.Repeat(map[string]func(*rapid.T){
			"request pool":    m.requestPool,
			"bind pool":       m.bindPool,
			"unbind pool":     m.unbindPoolAction,
			"release pool":    m.releasePoolAction,
			"request address": m.requestAddress,
			"request more":    m.requestAddress,
			"release address": m.releaseAddress,
			"bind address":    m.bindAddress,
			"unbind address":  m.unbindAddress,
			"time passes": func(rt *rapid.T) {
				m.clock.advance(time.Duration(rapid.IntRange(1, 100).Draw(rt, "seconds")) * time.Second)
			},
			"sweep":           m.sweepAction,
			"crash and adopt": m.crash,
			"":                m.check,
		})
	})
}

// failing makes the store fail for one action, now and then.
func (m *machine) failing(rt *rapid.T) (done func()) {
	how := rapid.SampledFrom([]string{"", "", "", "", "before", "after"}).Draw(rt, "store fails")
	m.kv.setFail(how)
	return func() {
		m.kv.setFail("")
		if how != "" { // what the failure left behind is gone after a sweep
			m.sweepAction(rt)
		}
	}
}

func (m *machine) requestPool(rt *rapid.T) {
	defer m.failing(rt)()
	subnet := rapid.SampledFrom([]string{"", "", "10.1.0.0/28", "10.1.0.0/29", "10.1.0.4/30", "10.1.0.6/31", "10.1.0.16/32", "10.9.0.0/28", "10.9.0.0/24", "fd01::/64", "fd01::/126"}).Draw(rt, "subnet")
	rng := ""
	if subnet != "" {
		rng = rapid.SampledFrom([]string{"", "", "10.1.0.4/30", "fd01::4/127"}).Draw(rt, "range")
	}
	req := poolRequest(subnet, rng)
	if subnet == "" {
		req.V6 = rapid.Bool().Draw(rt, "v6")
	}
	id, got, err := m.RequestPool(m.t.Context(), req)
	var blocker *modelPool
	for _, p := range m.pools {
		if req.Subnet.IsValid() && p.subnet.Overlaps(req.Subnet) {
			blocker = p
		}
	}
	repeated := blocker != nil && blocker.subnet == req.Subnet && blocker.rng == req.Range && !blocker.auto && blocker.network == ""
	switch {
	case errors.Is(err, errDisk) || errors.Is(err, ipam.ErrRequest):
		return
	case errors.Is(err, ipam.ErrOverlap):
		if (blocker == nil || repeated) && !req.Subnet.Overlaps(m.routes[0]) {
			rt.Fatalf("RequestPool(%+v): %v, but nothing is in the way", req, err)
		}
		return
	case errors.Is(err, ipam.ErrNoSubnet):
		m.wantNoSubnet(rt, req.V6)
		return
	case err != nil:
		rt.Fatalf("RequestPool(%+v): %v", req, err)
	case blocker != nil && !repeated:
		rt.Fatalf("RequestPool(%+v) = %s, over %s", req, id, blocker.subnet)
	case req.Subnet.IsValid() && got != req.Subnet, id != ipam.NewPoolID(ipam.SpaceHost, got):
		rt.Fatalf("RequestPool(%+v) = %s, %s", req, id, got)
	}
	if repeated {
		m.pools[id].since, m.pools[id].released = m.clock.Now(), false
		return
	}
	for other, p := range m.pools {
		if p.subnet.Overlaps(got) {
			rt.Fatalf("RequestPool(%+v) = %s, over %s", req, id, other)
		}
	}
	m.pools[id] = &modelPool{
		subnet: got, rng: req.Range, auto: subnet == "", since: m.clock.Now(),
		leases: make(map[netip.Addr]modelLease), memory: make(map[string]netip.Addr),
	}
}

func (m *machine) wantNoSubnet(rt *rapid.T, v6 bool) {
	candidates := []string{"10.9.0.0/28", "10.9.0.16/28", "10.9.0.48/28"}
	if v6 {
		candidates = []string{"fd09::/64", "fd09:0:0:1::/64", "fd09:0:0:2::/64", "fd09:0:0:3::/64"}
	}
	for _, c := range candidates {
		if !slices.ContainsFunc(slices.Collect(maps.Values(m.pools)), func(p *modelPool) bool { return p.subnet.Overlaps(netip.MustParsePrefix(c)) }) {
			rt.Fatalf("no subnet left, but %s is free", c)
		}
	}
}

// pick draws a pool, or an id that is none.
func (m *machine) pick(rt *rapid.T) (ipam.PoolID, *modelPool) {
	ids := append(slices.Sorted(maps.Keys(m.pools)), "ournet-host/10.77.0.0/16")
	id := rapid.SampledFrom(ids).Draw(rt, "pool")
	return id, m.pools[id]
}

func (m *machine) bindPool(rt *rapid.T) {
	id, p := m.pick(rt)
	network := rapid.SampledFrom([]string{"net1", "net2"}).Draw(rt, "network")
	if m.hasOther(id, network) {
		return // what is asked of one may be answered by the other: see the tests of chains
	}
	err := m.BindPool(id, network)
	if want := p != nil && (p.network == "" || p.network == network); want != (err == nil) {
		rt.Fatalf("BindPool(%s, %s): %v", id, network, err)
	}
	if err == nil && p.network == "" {
		p.network, p.released = network, false
	}
}

// hasOther reports whether a network has another pool than this one, of its family.
func (m *machine) hasOther(id ipam.PoolID, network string) bool {
	for other, p := range m.pools {
		if other != id && p.network == network && m.pools[id] != nil && p.subnet.Addr().Is4() == m.pools[id].subnet.Addr().Is4() {
			return true
		}
	}
	return false
}

func (m *machine) unbindPoolAction(rt *rapid.T) {
	defer m.failing(rt)()
	id, p := m.pick(rt)
	network := rapid.SampledFrom([]string{"net1", "net2"}).Draw(rt, "network")
	err := m.UnbindPool(m.t.Context(), id, network)
	if p != nil && p.network == network {
		p.network, p.since = "", m.clock.Now()
	}
	m.freed(rt, id, err)
}

func (m *machine) releasePoolAction(rt *rapid.T) {
	defer m.failing(rt)()
	id, p := m.pick(rt)
	err := m.ReleasePool(m.t.Context(), id)
	if p != nil {
		p.released = true
	}
	m.freed(rt, id, err)
}

// freed follows in the model what is due after a release or unbinding.
func (m *machine) freed(rt *rapid.T, id ipam.PoolID, err error) {
	p := m.pools[id]
	due := p != nil && p.released && p.network == ""
	switch {
	case err != nil && (!due || !errors.Is(err, errDisk)):
		rt.Fatalf("free pool %s: %v", id, err)
	case err == nil && due:
		delete(m.pools, id)
	}
}

// near draws an address in or around the subnet.
func near(rt *rapid.T, p *modelPool) netip.Addr {
	if p == nil {
		return netip.MustParseAddr("10.77.0.1")
	}
	a := p.subnet.Addr().Prev()
	for range rapid.IntRange(0, 17).Draw(rt, "offset") {
		a = a.Next()
	}
	return a
}

func (m *machine) sweepAction(rt *rapid.T) {
	reclaimed, err := m.Sweep(m.t.Context(), nil)
	if err != nil {
		rt.Fatalf("Sweep: %v", err)
	}
	want := 0
	overdue := func(since time.Time) bool { return m.clock.Now().Sub(since) >= ipam.DefaultConfirm }
	for id, p := range m.pools {
		if p.network == "" && overdue(p.since) {
			delete(m.pools, id)
			want++
			continue
		}
		for addr, l := range p.leases {
			if (l.kind == "static" || l.kind == "dynamic") && l.endpoint == "" && overdue(l.since) {
				// Which of two of a name goes first is open, and so is its memory.
				delete(p.leases, addr)
				delete(p.memory, l.name)
				want++
			}
		}
	}
	if len(reclaimed) != want {
		rt.Fatalf("Sweep reclaimed %q, want %d", reclaimed, want)
	}
}

// crash opens the manager anew, and brings the bindings back.
func (m *machine) crash(rt *rapid.T) {
	m.open()
	now := m.clock.Now()
	forgotten := rapid.Bool().Draw(rt, "a network was removed meanwhile")
	live := make(map[string]*ipam.LiveNetwork)
	for id, p := range m.pools {
		p.since, p.released = now, false
		if forgotten && p.network == "net2" {
			p.network = ""
		}
		for addr, l := range p.leases {
			l.since = now
			if p.network == "" {
				l.endpoint = ""
			}
			p.leases[addr] = l
		}
		if p.network == "" {
			continue
		}
		if live[p.network] == nil {
			live[p.network] = &ipam.LiveNetwork{Network: p.network, Endpoints: make(map[string][]netip.Addr)}
		}
		ln := live[p.network]
		ln.Pools = append(ln.Pools, id)
		for addr, l := range p.leases {
			if l.endpoint != "" {
				ln.Endpoints[l.endpoint] = append(ln.Endpoints[l.endpoint], addr)
			}
		}
	}
	var all []ipam.LiveNetwork
	for _, ln := range live {
		all = append(all, *ln)
	}
	for range 2 {
		if err := m.Adopt(m.t.Context(), all); err != nil {
			rt.Fatalf("Adopt: %v", err)
		}
	}
}

// check compares all that can be seen with the model, in memory and on the disk.
func (m *machine) check(rt *rapid.T) {
	m.compare(rt, "in memory", m.Pools(), true)
	durable := &world{t: m.t, kv: m.kv, clock: m.clock, blocks: m.blocks, log: m.log}
	durable.open()
	m.compare(rt, "in the store", durable.Pools(), false)
}

func (m *machine) compare(rt *rapid.T, where string, infos []ipam.PoolInfo, bindings bool) {
	var got, want []string
	for _, p := range infos {
		if !bindings {
			p.Network = ""
		}
		got = append(got, fmt.Sprintf("%s range %s network %s", p.ID, p.Range, p.Network))
		for _, l := range p.Leases {
			if !bindings {
				l.Endpoint = ""
			}
			got = append(got, fmt.Sprintf("%s %s %s %q %q", p.ID, l.Address, l.Kind, l.Name, l.Endpoint))
		}
	}
	for id, p := range m.pools {
		network := p.network
		if !bindings {
			network = ""
		}
		want = append(want, fmt.Sprintf("%s range %s network %s", id, p.rng, network))
		for addr, l := range p.leases {
			if !bindings {
				l.endpoint = ""
			}
			want = append(want, fmt.Sprintf("%s %s %s %q %q", id, addr, l.kind, l.name, l.endpoint))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		rt.Fatalf("%s: have %q, want %q", where, got, want)
	}
}
