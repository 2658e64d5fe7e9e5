package bridge_test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sirupsen/logrus"
	"pgregory.net/rapid"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/hostport"
	"github.com/ournet/ournet/internal/netnstest"
	"github.com/ournet/ournet/internal/store/memstore"
)

// portMachine is registry, driver and kernel beside a model of who has which ports.
type portMachine struct {
	t  *testing.T
	ns *netnstest.Namespace
	kv *memstore.Store
	n  driver.Network

	h    *host
	r    *driver.Registry
	next int

	addrs int

	containers []*modelContainer
}

// modelContainer is a container that asks for the same ports at each start.
type modelContainer struct {
	addr    netip.Prefix
	wants   []driver.Binding
	id      driver.EndpointID // "" when it does not run
	had     []driver.Binding  // when it ran last
	ran     bool
	lostIts bool // the interface went, and nobody told us
}

func TestPorts_stateMachine(t *testing.T) {
	t.Parallel()
	ns := netnstest.Enter(t)
	ns.Exec(t, "sysctl", "-qw", "net.ipv4.ip_local_port_range=8000 8015")
	m := &portMachine{t: t, ns: ns, kv: memstore.New(), n: testNetwork(1), addrs: 1}
	m.n.Subnets[0].Pool = netip.MustParsePrefix("10.1.0.0/16")
	m.open()
	must(t, m.r.CreateNetwork(t.Context(), m.n))
	rapid.Check(t, func(rt *rapid.T) {
		m.containers = nil // those before have left their memories
		for range 4 {
			c := &modelContainer{addr: m.nextAddr()}
			for range rapid.IntRange(1, 3).Draw(rt, "bindings") {
				c.wants = append(c.wants, drawBinding(rt))
			}
			m.containers = append(m.containers, c)
		}
		defer m.stopAll()
		rt.Repeat(map[string]func(*rapid.T){
			"start":        m.start,
			"start more":   m.start,
			"stop":         m.stop,
			"crash":        m.crash,
			"restart":      m.restart,
			"":             m.check,
			"publish same": m.repeat,
		})
	})
	must(t, m.r.DeleteNetwork(t.Context(), m.n.ID))
	if held := m.h.ports.Held(); len(held) > 0 {
		t.Errorf("held at the end: %v", held)
	}
	m.close()
}

// nextAddr returns an address that no container had.
func (m *portMachine) nextAddr() netip.Prefix {
	m.addrs++
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(m.addrs >> 8), byte(m.addrs)}), 16)
}

func (m *portMachine) stopAll() {
	for _, c := range m.containers {
		if c.id != "" {
			m.end(c)
		}
	}
}

func drawBinding(rt *rapid.T) driver.Binding {
	b := driver.Binding{
		Protocol: rapid.SampledFrom([]driver.Protocol{driver.TCP, driver.UDP, driver.SCTP}).Draw(rt, "protocol"),
		Port:     rapid.SampledFrom([]uint16{80, 81}).Draw(rt, "port"),
		HostAddr: rapid.SampledFrom([]netip.Addr{{}, netip.IPv4Unspecified(), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}).Draw(rt, "address"),
	}
	switch rapid.IntRange(0, 2).Draw(rt, "choice") {
	case 1:
		b.HostPort = rapid.Uint16Range(8000, 8031).Draw(rt, "first")
		b.HostPortEnd = b.HostPort
	case 2:
		b.HostPort = rapid.Uint16Range(8000, 8005).Draw(rt, "first")
		b.HostPortEnd = b.HostPort + rapid.Uint16Range(1, 4).Draw(rt, "more")
	}
	return b
}

// open is the start of the plugin.
func (m *portMachine) open() {
	m.t.Helper()
	log := logrus.New()
	log.SetOutput(m.t.Output())
	m.h = newDriver(m.t, m.ns, "ournet")
	var err error
	m.r, err = driver.Open(m.t.Context(), m.kv, map[driver.Type]driver.Driver{driver.TypeBridge: m.h}, log)
	must(m.t, err)
	_, err = m.r.Reconcile(m.t.Context())
	must(m.t, err)
}

// close is its end: the kernel closes its sockets.
func (m *portMachine) close() { m.h.letGo(m.t) }

// restart is rare: it looks at all of the packet filter, which takes long.
func (m *portMachine) restart(rt *rapid.T) {
	if rapid.IntRange(0, 7).Draw(rt, "dare") > 0 {
		rt.Skip("not this time")
	}
	m.close()
	m.open()
}

func (m *portMachine) drawContainer(rt *rapid.T) *modelContainer {
	return rapid.SampledFrom(m.containers).Draw(rt, "container")
}

func (m *portMachine) start(rt *rapid.T) {
	c := m.drawContainer(rt)
	if c.id != "" && !c.lostIts {
		rt.Skip("it runs")
	}
	if m.refused(c) && rapid.IntRange(0, 19).Draw(rt, "dare") > 0 {
		rt.Skip("a port that it must have is taken, and to find that out takes a second")
	}
	m.next++
	ep := driver.Endpoint{Network: m.n.ID, Address: c.addr}
	ep.ID = driver.EndpointID(fmt.Sprintf("%011x%053d", m.next, 0))
	_, err := m.r.CreateEndpoint(m.t.Context(), ep)
	must(m.t, err)
	_, err = m.r.Join(m.t.Context(), m.n.ID, ep.ID, fmt.Sprintf("/run/docker/netns/%d", m.next))
	must(m.t, err)
	free := m.free(c)
	err = m.r.Publish(m.t.Context(), m.n.ID, ep.ID, c.wants)
	if err != nil {
		if !errors.Is(err, syscall.EADDRINUSE) {
			rt.Fatalf("start: %v", err)
		}
		if have, _ := m.r.Endpoint(m.n.ID, ep.ID); len(have.Published) > 0 {
			rt.Fatalf("refused, but it has %v", have.Published)
		}
		if c.ran && free {
			rt.Fatalf("refused, though all that it had is free: %v", err)
		}
		must(m.t, m.r.DeleteEndpoint(m.t.Context(), m.n.ID, ep.ID))
		return
	}
	have, _ := m.r.Endpoint(m.n.ID, ep.ID)
	if c.ran && free && !slices.Equal(have.Published, c.had) {
		rt.Fatalf("it has %v; it had %v, and that is free", have.Published, c.had)
	}
	c.id, c.had, c.ran, c.lostIts = ep.ID, have.Published, true, false
}

// refused reports whether a port that c must have is that of a container that runs.
func (m *portMachine) refused(c *modelContainer) bool {
	for _, b := range c.wants {
		if !b.HostAddr.IsValid() {
			b.HostAddr = netip.IPv4Unspecified()
		}
		for _, other := range m.containers {
			if b.HostPort != 0 && b.HostPort == b.HostPortEnd && other != c && other.id != "" &&
				slices.ContainsFunc(other.had, func(a driver.Binding) bool { return overlap(a, b) }) {
				return true
			}
		}
	}
	return false
}

// free reports whether no other container that runs has what c had.
func (m *portMachine) free(c *modelContainer) bool {
	for _, other := range m.containers {
		if other == c || other.id == "" {
			continue
		}
		for _, a := range other.had {
			if slices.ContainsFunc(c.had, func(b driver.Binding) bool { return overlap(a, b) }) {
				return false
			}
		}
	}
	return true
}

func overlap(a, b driver.Binding) bool {
	return a.Protocol == b.Protocol && a.HostPort == b.HostPort &&
		(a.HostAddr == b.HostAddr || a.HostAddr.IsUnspecified() || b.HostAddr.IsUnspecified())
}

func (m *portMachine) stop(rt *rapid.T) {
	c := m.drawContainer(rt)
	if c.id == "" {
		rt.Skip("it does not run")
	}
	m.end(c)
}

func (m *portMachine) end(c *modelContainer) {
	must(m.t, m.r.Leave(m.t.Context(), m.n.ID, c.id))
	must(m.t, m.r.DeleteEndpoint(m.t.Context(), m.n.ID, c.id))
	c.id, c.lostIts = "", false
}

// crash is the end of a container that nobody tells us of.
func (m *portMachine) crash(rt *rapid.T) {
	c := m.drawContainer(rt)
	if c.id == "" || c.lostIts {
		rt.Skip("it does not run")
	}
	must(m.t, m.h.dev.Delete("onv"+string(c.id[:11])))
	c.lostIts = true
}

// repeat is a request that the engine sends twice.
func (m *portMachine) repeat(rt *rapid.T) {
	c := m.drawContainer(rt)
	if c.id == "" || c.lostIts {
		rt.Skip("it does not run")
	}
	must(m.t, m.r.Publish(m.t.Context(), m.n.ID, c.id, c.wants))
}

// check compares records, sockets and the kernel's maps.
func (m *portMachine) check(rt *rapid.T) {
	records := make(map[hostport.Port]string)
	for _, a := range m.r.All() {
		for _, ep := range a.Endpoints {
			for _, b := range ep.Published {
				p := hostport.Port{Protocol: uint8(b.Protocol), Addr: b.HostAddr, Port: b.HostPort}
				if _, twice := records[p]; twice {
					rt.Fatalf("%s is published twice", p)
				}
				records[p] = fmt.Sprintf("%s . %d", ep.Address.Addr(), b.Port)
			}
		}
	}
	for p := range records {
		for q := range records {
			a := driver.Binding{Protocol: driver.Protocol(p.Protocol), HostAddr: p.Addr, HostPort: p.Port}
			b := driver.Binding{Protocol: driver.Protocol(q.Protocol), HostAddr: q.Addr, HostPort: q.Port}
			if p != q && overlap(a, b) {
				rt.Fatalf("%s and %s are both published", p, q)
			}
		}
	}
	held := make(map[hostport.Port]bool)
	for _, p := range m.h.ports.Held() {
		held[p] = true
	}
	want := make(map[hostport.Port]bool)
	for p := range records {
		want[p] = true
	}
	if !maps.Equal(held, want) {
		rt.Fatalf("held %v, on record %v", held, want)
	}
	m.checkMaps(rt, records)
}

func (m *portMachine) checkMaps(rt *rapid.T, records map[hostport.Port]string) {
	got := m.h.portMaps(m.t)
	for p, to := range records {
		protocol, _, _ := strings.Cut(driver.Protocol(p.Protocol).String(), " ")
		line := fmt.Sprintf("%s . %d : %s", protocol, p.Port, to)
		if !p.Addr.IsUnspecified() {
			line = p.Addr.String() + " . " + line
		}
		if !strings.Contains(got, line) {
			rt.Fatalf("the kernel's maps lack %q:\n%s", line, got)
		}
	}
	if n := strings.Count(got, " : "); n != len(records) {
		rt.Fatalf("the kernel's maps have %d ports, %d are on record:\n%s", n, len(records), got)
	}
}
