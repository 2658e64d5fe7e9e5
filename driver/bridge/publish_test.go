package bridge_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/ournet/ournet/driver"
)

// portMaps returns the published ports that the kernel knows.
func (h *host) portMaps(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, m := range []string{"ports4", "any4", "ports6", "any6"} {
		_, elements, _ := strings.Cut(h.ns.Exec(t, "nft", "list", "map", "inet", "ournet", m), "elements = ")
		all.WriteString(elements)
	}
	return all.String()
}

// attach makes the network and the endpoint's interface.
func (h *host) attach(t *testing.T, n driver.Network, ep driver.Endpoint) {
	t.Helper()
	must(t, h.EnsureNetwork(t.Context(), n))
	_, err := h.Join(t.Context(), n, ep)
	must(t, err)
}

func TestPublish_boundPortsAreHeldAndSentOn(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	ep := testEndpoint(n, 1)
	ep.Bindings = []driver.Binding{
		{Protocol: driver.TCP, Port: 80, HostPort: 8080, HostPortEnd: 8080},
		{Protocol: driver.UDP, Port: 53, HostAddr: netip.MustParseAddr("127.0.0.1"), HostPort: 5300, HostPortEnd: 5310},
		{Protocol: driver.TCP, Port: 81},
	}
	h.attach(t, n, ep)
	published, err := h.Publish(t.Context(), n, ep, driver.Former{})
	must(t, err)
	if len(published) != 3 || published[0].HostPort != 8080 || published[1].HostPort != 5300 || published[2].HostPort == 0 {
		t.Fatalf("Publish = %v, want 8080, 5300 and some port", published)
	}
	if l, err := net.Listen("tcp4", ":8080"); !errors.Is(err, syscall.EADDRINUSE) {
		if err == nil {
			_ = l.Close() // the test fails anyway
		}
		t.Errorf("listening on the published port = %v, want EADDRINUSE", err)
	}
	maps := h.portMaps(t)
	for _, want := range []string{"tcp . 8080 : 10.1.0.2 . 80", "127.0.0.1 . udp . 5300 : 10.1.0.2 . 53"} {
		if !strings.Contains(maps, want) {
			t.Errorf("the kernel's maps lack %q:\n%s", want, maps)
		}
	}
	ep.Published = published
	must(t, h.Unpublish(t.Context(), n, ep))
	must(t, h.Unpublish(t.Context(), n, ep))
	if maps := h.portMaps(t); maps != "" {
		t.Errorf("maps after Unpublish:\n%s", maps)
	}
	if held := h.ports.Held(); len(held) > 0 {
		t.Errorf("ports still held: %v", held)
	}
}

func TestPublish_takenPortIsNamedAndNothingStays(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	must(t, h.EnsureNetwork(t.Context(), n))
	other, err := net.Listen("tcp4", ":8081")
	must(t, err)
	defer func() { must(t, other.Close()) }()
	ep := testEndpoint(n, 1)
	ep.Bindings = []driver.Binding{
		{Protocol: driver.TCP, Port: 80, HostPort: 8080, HostPortEnd: 8080},
		{Protocol: driver.TCP, Port: 81, HostPort: 8081, HostPortEnd: 8081},
	}
	_, err = h.Publish(t.Context(), n, ep, driver.Former{})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "8081") {
		t.Fatalf("Publish = %v, want EADDRINUSE that names 8081", err)
	}
	if held, maps := h.ports.Held(), h.portMaps(t); len(held) > 0 || maps != "" {
		t.Errorf("left over: held %v, maps %s", held, maps)
	}
}

func TestPublish_dualStackTakesTheSamePortOnBoth(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	n.Subnets = append(n.Subnets, driver.Subnet{
		Pool: netip.MustParsePrefix("fd00::/64"), Gateway: netip.MustParsePrefix("fd00::1/64"),
	})
	h.attach(t, n, testEndpoint(n, 1))
	busy, err := net.Listen("tcp6", "[::]:8080") // on IPv6 alone
	must(t, err)
	defer func() { must(t, busy.Close()) }()
	ep := testEndpoint(n, 1)
	ep.AddressIPv6 = netip.MustParsePrefix("fd00::2/64")
	ep.Bindings = []driver.Binding{{Protocol: driver.TCP, Port: 80, HostPort: 8080, HostPortEnd: 8085}}
	published, err := h.Publish(t.Context(), n, ep, driver.Former{})
	must(t, err)
	if len(published) != 2 || published[0].HostPort != 8081 || published[1].HostPort != 8081 {
		t.Errorf("Publish = %v, want 8081 on both families: 8080 is taken on one", published)
	}
}

func TestPublish_addressOfAFamilyTheContainerLacksIsRefused(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	must(t, h.EnsureNetwork(t.Context(), n))
	ep := testEndpoint(n, 1)
	ep.Bindings = []driver.Binding{{Protocol: driver.TCP, Port: 80, HostAddr: netip.IPv6Loopback(), HostPort: 8080, HostPortEnd: 8080}}
	if _, err := h.Publish(t.Context(), n, ep, driver.Former{}); err == nil || !strings.Contains(err.Error(), "family") {
		t.Errorf("Publish = %v, want an error about the family", err)
	}
}

func TestPublish_oneIPv4AddressAsDefaultDoesNotOpenIPv6(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	n.Options.HostBindingIPv4 = netip.MustParseAddr("127.0.0.1")
	n.Subnets = append(n.Subnets, driver.Subnet{
		Pool: netip.MustParsePrefix("fd00::/64"), Gateway: netip.MustParsePrefix("fd00::1/64"),
	})
	ep := testEndpoint(n, 1)
	ep.AddressIPv6 = netip.MustParsePrefix("fd00::2/64")
	ep.Bindings = []driver.Binding{{Protocol: driver.TCP, Port: 80, HostPort: 8080, HostPortEnd: 8085}}
	h.attach(t, n, ep)
	published, err := h.Publish(t.Context(), n, ep, driver.Former{})
	must(t, err)
	if len(published) != 1 {
		t.Errorf("Publish = %v", published)
	}
}
