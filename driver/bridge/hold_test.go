package bridge_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ournet/ournet/driver"
)

// published publishes the bindings of an endpoint and returns the host ports.
func (h *host) published(t *testing.T, n driver.Network, ep driver.Endpoint, former driver.Former) []uint16 {
	t.Helper()
	bound, err := h.Publish(t.Context(), n, ep, former)
	must(t, err)
	var ports []uint16
	for _, b := range bound {
		ports = append(ports, b.HostPort)
	}
	return ports
}

func binding(port, first, last uint16) driver.Binding {
	return driver.Binding{Protocol: driver.TCP, Port: port, HostPort: first, HostPortEnd: last}
}

func boundAt(port, hostPort uint16) driver.Binding {
	b := binding(port, hostPort, hostPort)
	b.HostAddr = netip.IPv4Unspecified()
	return b
}

// newNetwork returns a network with the interfaces of two endpoints.
func (h *host) newNetwork(t *testing.T) (n driver.Network, first, second driver.Endpoint) {
	t.Helper()
	n = testNetwork(1)
	first, second = testEndpoint(n, 1), testEndpoint(n, 2)
	h.attach(t, n, first)
	h.attach(t, n, second)
	return n, first, second
}

func TestPublish_containerGetsItsFormerPortsBack(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n, ep, _ := h.newNetwork(t)
	busy, err := net.Listen("tcp4", ":40003")
	must(t, err)
	defer func() { must(t, busy.Close()) }()
	ep.Bindings = []driver.Binding{binding(80, 0, 0), binding(80, 0, 0), binding(81, 8000, 8010), binding(82, 0, 0), binding(83, 9000, 9001), binding(80, 40000, 40000)}
	got := h.published(t, n, ep, driver.Former{Own: []driver.Binding{
		boundAt(80, 40000), boundAt(80, 40001), boundAt(80, 40002), boundAt(81, 8005), boundAt(82, 40003), boundAt(83, 9005),
	}})
	// 40003 is another program's by now, and 9005 out of the range.
	if want := []uint16{40000, 8005, 9000, 40001, 40002}; len(got) != 6 || !slices.Equal(got[:5], want) || got[5] == 40003 {
		t.Errorf("published %v, want %v and a new one", got, want)
	}
}

func TestPublish_sparesWhatOthersHad(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n, ep, other := h.newNetwork(t)
	h.ns.Exec(t, "sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40003")
	former := driver.Former{Others: func(_ driver.Protocol, port uint16) bool { return port != 40002 && port != 8003 }}
	ep.Bindings = []driver.Binding{binding(80, 8000, 8003), binding(81, 0, 0)}
	if got, want := h.published(t, n, ep, former), []uint16{8003, 40002}; !slices.Equal(got, want) {
		t.Errorf("published %v, want %v, which nobody had", got, want)
	}
	other.Bindings = ep.Bindings
	got := h.published(t, n, other, former)
	if got[0] != 8000 || got[1] < 40000 || got[1] > 40003 || got[1] == 40002 {
		t.Errorf("published %v, want ports that others had: no other is free", got)
	}
	if held := len(h.ports.Held()); held != 4 {
		t.Errorf("%d ports are held, want 4", held)
	}
}

func TestPublish_containersShareARange(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n, ep, other := h.newNetwork(t)
	for i, e := range []driver.Endpoint{ep, other} {
		e.Bindings = []driver.Binding{binding(80, 8000, 8001)}
		if got := h.published(t, n, e, driver.Former{}); got[0] != uint16(8000+i) {
			t.Errorf("container %d has port %d", i, got[0])
		}
	}
	third := testEndpoint(n, 3)
	third.Bindings = []driver.Binding{binding(80, 8000, 8001)}
	_, err := h.Publish(t.Context(), n, third, driver.Former{})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "8000 to 8001") {
		t.Errorf("Publish = %v, want EADDRINUSE that names the range", err)
	}
}

// Whatever the order in which the engine names them.
func TestPublish_noPortOfAContainerIsInTheWayOfAnother(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n, ep, _ := h.newNetwork(t)
	h.ns.Exec(t, "sysctl", "-qw", "net.ipv4.ip_local_port_range=8000 8003")
	ep.Bindings = []driver.Binding{binding(80, 0, 0), binding(81, 8000, 8001), binding(82, 8000, 8000), binding(82, 8000, 8000)}
	if got, want := h.published(t, n, ep, driver.Former{}), []uint16{8000, 8001}; len(got) != 3 || !slices.Equal(got[:2], want) || got[2] < 8002 {
		t.Errorf("published %v, want %v: what is asked for twice once", got, want)
	}
}

func TestPublish_anyAndOneAddressOfTheSamePort(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n, ep, other := h.newNetwork(t)
	one := binding(80, 0, 0)
	one.HostAddr = netip.MustParseAddr("127.0.0.1")
	ep.Bindings = []driver.Binding{one, binding(80, 0, 0)}
	got := h.published(t, n, ep, driver.Former{})
	if len(got) != 2 || got[0] == got[1] {
		t.Fatalf("published %v, want two ports", got)
	}
	other.Bindings = []driver.Binding{binding(80, got[0], got[0])}
	_, err := h.Publish(t.Context(), n, other, driver.Former{})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "published port 127.0.0.1") {
		t.Errorf("every address over one: %v, want EADDRINUSE that names it", err)
	}
}

func TestPublish_allOrNothingOfMany(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n, ep, other := h.newNetwork(t)
	for i := range uint16(64) {
		ep.Bindings = append(ep.Bindings, binding(1000+i, 8000+i, 8000+i))
	}
	other.Bindings = []driver.Binding{binding(80, 8063, 8063)}
	otherPorts, err := h.Publish(t.Context(), n, other, driver.Former{})
	must(t, err)
	if _, err := h.Publish(t.Context(), n, ep, driver.Former{}); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "8063") {
		t.Errorf("Publish = %v, want EADDRINUSE that names 8063", err)
	}
	if held := len(h.ports.Held()); held != 1 {
		t.Errorf("%d ports are held, want the other container's alone", held)
	}
	other.Published = otherPorts
	must(t, h.Unpublish(t.Context(), n, other))
	if got := h.published(t, n, ep, driver.Former{}); len(got) != 64 || strings.Count(h.portMaps(t), "10.1.0.2") != 64 {
		t.Errorf("published %d of 64 ports:\n%s", len(got), h.portMaps(t))
	}
}

func TestPublish_refusesAddressesThatLeadNowhere(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n, ep, _ := h.newNetwork(t)
	only6 := ep
	only6.Address, only6.AddressIPv6 = netip.Prefix{}, netip.MustParsePrefix("fd00::2/64")
	bindHost := n
	bindHost.Options.HostBindingIPv4 = netip.MustParseAddr("127.0.0.1")
	at := func(addr string) driver.Binding {
		b := binding(80, 8080, 8080)
		if addr != "" {
			b.HostAddr = netip.MustParseAddr(addr)
		}
		return b
	}
	for _, tc := range []struct {
		name string
		n    driver.Network
		ep   driver.Endpoint
		b    driver.Binding
		says []string
	}{
		{"not of this host", n, ep, at("192.0.2.7"), []string{"192.0.2.7", "is not an address of this host"}},
		{"IPv6 to a container with IPv4 alone", n, ep, at("::"), []string{"80/tcp", "family"}},
		{"IPv4 to a container with IPv6 alone", n, only6, at("0.0.0.0"), []string{"80/tcp", "family"}},
		{"IPv6 loopback", n, only6, at("::1"), []string{"::1", "127.0.0.1"}},
		{"IPv4 by default to a container with IPv6 alone", bindHost, only6, at(""), []string{driver.OptHostBindingIPv4, "no address of that family"}},
	} {
		tc.ep.Bindings = []driver.Binding{tc.b}
		_, err := h.Publish(t.Context(), tc.n, tc.ep, driver.Former{})
		for _, word := range tc.says {
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("%s: Publish = %v, want an error that says %q", tc.name, err, word)
			}
		}
	}
	if held := h.ports.Held(); len(held) > 0 {
		t.Errorf("left over: %v", held)
	}
}
