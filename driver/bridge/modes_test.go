package bridge_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/hostport"
)

// dualNetwork is testNetwork with IPv6.
func dualNetwork(i int) driver.Network {
	n := testNetwork(i)
	pool := netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 3: byte(i)}), 64)
	n.Subnets = append(n.Subnets, driver.Subnet{Pool: pool, Gateway: netip.PrefixFrom(pool.Addr().Next(), 64)})
	return n
}

// dualEndpoint is testEndpoint with IPv6.
func dualEndpoint(n driver.Network, i int) driver.Endpoint {
	ep := testEndpoint(n, i)
	a := n.Subnets[1].Pool.Addr().As16()
	a[15] = byte(i + 1)
	ep.AddressIPv6 = netip.PrefixFrom(netip.AddrFrom16(a), 64)
	return ep
}

func TestGateway_bridgeHasTheAddressesThatItsModesSay(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	for i, tc := range []struct {
		name   string
		change func(n *driver.Network)
		want   []string // addresses, and nothing else of IPv4 and IPv6 but link-local ones
		off6   string
	}{
		{"nat", func(*driver.Network) {}, []string{"4", "6"}, "0"},
		{"routed", func(n *driver.Network) { n.Options.GatewayModeIPv4 = driver.GatewayRouted }, []string{"4", "6"}, "0"},
		{"inhibited", func(n *driver.Network) { n.Options.InhibitIPv4 = true }, []string{"6"}, "0"},
		{"internal", func(n *driver.Network) { n.Internal = true }, []string{"4", "6"}, "0"},
		{"isolated", func(n *driver.Network) {
			n.Internal = true
			n.Options.GatewayModeIPv4, n.Options.GatewayModeIPv6 = driver.GatewayIsolated, driver.GatewayIsolated
		}, nil, "1"},
		{"isolated in IPv4", func(n *driver.Network) { n.Internal, n.Options.GatewayModeIPv4 = true, driver.GatewayIsolated }, []string{"6"}, "0"},
	} {
		n := dualNetwork(i + 1)
		tc.change(&n)
		must(t, h.Check(n, nil))
		must(t, h.EnsureNetwork(t.Context(), n))
		var want []string
		for _, family := range tc.want {
			want = append(want, n.Subnets[strings.Index("46", family)].Gateway.String())
		}
		device := "on-" + string(n.ID[:12])
		var got []string
		for line := range strings.Lines(h.ns.Exec(t, "ip", "-o", "address", "show", "dev", device)) {
			if p := strings.Fields(line)[3]; !strings.HasPrefix(p, "fe80:") {
				got = append(got, p)
			}
		}
		if !slices.Equal(want, got) {
			t.Errorf("%s: the bridge has %v, want %v", tc.name, got, want)
		}
		if off := strings.TrimSpace(h.ns.Exec(t, "cat", "/proc/sys/net/ipv6/conf/"+device+"/disable_ipv6")); off != tc.off6 {
			t.Errorf("%s: disable_ipv6 is %s, want %s", tc.name, off, tc.off6)
		}
		if repairs, err := h.Reconcile(t.Context(), []driver.Attached{{Network: n}}, nil); err != nil || len(repairs) > 0 {
			t.Errorf("%s: Reconcile = %q, %v; want that all is well", tc.name, repairs, err)
		}
		must(t, h.RemoveNetwork(t.Context(), n))
	}
}

func TestGateway_inhibitedAddressIsTheUsersToGive(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	n.Options.InhibitIPv4 = true
	must(t, h.EnsureNetwork(t.Context(), n))
	h.ns.Exec(t, "ip", "address", "add", n.Subnets[0].Gateway.String(), "dev", "on-000000000001")
	if repairs, err := h.Reconcile(t.Context(), []driver.Attached{{Network: n}}, nil); err != nil || len(repairs) > 0 {
		t.Errorf("Reconcile = %q, %v; want that the user's address is left alone", repairs, err)
	}
	if got := h.ns.Exec(t, "ip", "address", "show", "dev", "on-000000000001"); !strings.Contains(got, "10.1.0.1/24") {
		t.Errorf("the bridge has lost the user's address:\n%s", got)
	}
}

func TestCheck_refusesModesThatTheNetworkCannotHave(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	isolated := dualNetwork(1)
	isolated.Options.GatewayModeIPv6 = driver.GatewayIsolated
	if err := h.Check(isolated, nil); !errors.Is(err, driver.ErrOption) || !strings.Contains(err.Error(), "--internal") {
		t.Errorf("Check of an isolated network that is not internal = %v, want ErrOption that says --internal", err)
	}
	other := testNetwork(1)
	other.Internal = true
	other.Subnets[0].Aux = map[string]netip.Addr{driver.AuxGatewayIPv4: netip.MustParseAddr("10.1.0.9")}
	if err := h.Check(other, nil); !errors.Is(err, driver.ErrOption) || !strings.Contains(err.Error(), "10.1.0.9") {
		t.Errorf("Check of an internal network with another gateway = %v, want ErrOption that says 10.1.0.9", err)
	}
}

func TestJoin_tellsTheGatewayAndTheName(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := dualNetwork(1)
	n.Options.InhibitIPv4, n.Options.InterfacePrefix = true, "net"
	n.Subnets[1].Aux = map[string]netip.Addr{driver.AuxGatewayIPv6: netip.MustParseAddr("fd00:1::9")}
	must(t, h.EnsureNetwork(t.Context(), n))
	att, err := h.Join(t.Context(), n, dualEndpoint(n, 1))
	must(t, err)
	// The address that the bridge does not have is somewhere else on the network.
	if att.Gateway.String() != "10.1.0.1" || att.GatewayIPv6.String() != "fd00:1::9" || att.DstPrefix != "net" {
		t.Errorf("Join = %+v, want the gateways 10.1.0.1 and fd00:1::9, and the prefix net", att)
	}
}

// Where one family is routed and the other is not, only that one takes a port of the
// host; and a repair finds all as it should be.
func TestPublish_routedFamilyTakesNoPortOfTheHost(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := dualNetwork(1)
	n.Options.GatewayModeIPv6 = driver.GatewayRouted
	first, second := dualEndpoint(n, 1), dualEndpoint(n, 2)
	first.Bindings = []driver.Binding{
		{Protocol: driver.TCP, Port: 80, HostPort: 8080, HostPortEnd: 8080},
		{Protocol: driver.UDP, Port: 53, HostAddr: netip.MustParseAddr("2001:db8::1"), HostPort: 5353, HostPortEnd: 5353},
	}
	second.Bindings = []driver.Binding{{Protocol: driver.TCP, Port: 80}}
	for _, ep := range []*driver.Endpoint{&first, &second} {
		h.attach(t, n, *ep)
		var err error
		ep.Published, err = h.Publish(t.Context(), n, *ep, driver.Former{})
		must(t, err)
	}
	var got []string
	for _, b := range first.Published {
		got = append(got, b.String())
	}
	if want := []string{"[::]:0->80/tcp", "0.0.0.0:8080->80/tcp", "[::]:0->53/udp"}; !slices.Equal(want, got) {
		t.Errorf("Publish = %q, want %q", got, want)
	}
	if maps := h.portMaps(t); strings.Contains(maps, "fd00") {
		t.Errorf("IPv6 is translated:\n%s", maps)
	}
	open := h.ns.Exec(t, "nft", "list", "set", "inet", "ournet", "open6")
	for _, want := range []string{"fd00:1::2 . tcp . 80", "fd00:1::2 . udp . 53", "fd00:1::3 . tcp . 80"} {
		if !strings.Contains(open, want) {
			t.Errorf("%q is not open:\n%s", want, open)
		}
	}
	repairs, err := h.Reconcile(t.Context(), []driver.Attached{{Network: n, Endpoints: []driver.Endpoint{first, second}}}, nil)
	if err != nil || len(repairs) > 0 {
		t.Errorf("Reconcile = %q, %v; want that all is well", repairs, err)
	}
	held := slices.DeleteFunc(h.ports.Held(), func(p hostport.Port) bool { return p.Addr.Is4() })
	if len(held) > 0 {
		t.Errorf("held are %v", held)
	}
	must(t, h.Unpublish(t.Context(), n, first))
	open = h.ns.Exec(t, "nft", "list", "set", "inet", "ournet", "open6")
	if strings.Contains(open, "fd00:1::2") || !strings.Contains(open, "fd00:1::3") {
		t.Errorf("open after the first is gone:\n%s", open)
	}
}

func TestPublish_defaultAddressMayBeOfIPv6(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := dualNetwork(1)
	h.ns.Exec(t, "ip", "address", "add", "2001:db8::1/64", "dev", "lo")
	n.Options.HostBindingIPv4 = netip.MustParseAddr("2001:db8::1")
	ep := dualEndpoint(n, 1)
	ep.Bindings = []driver.Binding{{Protocol: driver.TCP, Port: 80, HostPort: 8080, HostPortEnd: 8080}}
	h.attach(t, n, ep)
	published, err := h.Publish(t.Context(), n, ep, driver.Former{})
	must(t, err)
	if len(published) != 1 || published[0].String() != "[2001:db8::1]:8080->80/tcp" {
		t.Errorf("Publish = %v, want [2001:db8::1]:8080 alone", published)
	}
}
