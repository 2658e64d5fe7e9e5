package bridge_test

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/bridge"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/hostport"
	"github.com/ournet/ournet/internal/link"
	"github.com/ournet/ournet/internal/netnstest"
)

// host is a driver on the real kernel, in a namespace of the test's own.
type host struct {
	*bridge.Driver

	ns    *netnstest.Namespace
	dev   *link.Handle
	ports *hostport.Holder
}

// newHost puts the test's goroutine into a new namespace with a driver in it.
func newHost(t *testing.T, name string) *host {
	t.Helper()
	ns := netnstest.Enter(t)
	return newDriver(t, ns, name)
}

// newDriver is another instance, or the next process, in the same namespace.
func newDriver(t *testing.T, ns *netnstest.Namespace, name string) *host {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	root := hostfs.New("/")
	dev, err := link.New(root)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := firewall.New(log, root, firewall.Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	h := &host{ns: ns, dev: dev, ports: hostport.New()}
	h.Driver = bridge.New(log, name, bridge.Kernel{Devices: dev, Rules: rules, Ports: h.ports, Sysctls: root})
	t.Cleanup(func() {
		if err := errors.Join(h.ports.Close(), dev.Close()); err != nil {
			t.Error(err)
		}
	})
	return h
}

// letGo lets go of all ports, as the end of the process does, and returns when the next
// one can have them.
func (h *host) letGo(t *testing.T) {
	t.Helper()
	held := h.ports.Held()
	must(t, h.ports.Close())
	for _, p := range held {
		h.awaitUnbound(t, p)
	}
}

// awaitUnbound waits until nobody has a port. A program that another test is just
// starting has a copy of each socket until it runs (fork(2)), and a little longer.
func (h *host) awaitUnbound(t *testing.T, p hostport.Port) {
	t.Helper()
	probe := func() error {
		// Of what is tried here no program that is started meanwhile gets a copy.
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		other := hostport.New()
		_, err := other.Hold(p.Protocol, p.Addr, p.Port)
		return errors.Join(err, other.Close())
	}
	for begin := time.Now(); ; <-time.After(time.Millisecond) {
		var err error
		h.ns.Run(t, func() error {
			err = probe()
			return nil
		})
		if !errors.Is(err, syscall.EADDRINUSE) || time.Since(begin) > 20*time.Second {
			must(t, err)
			return
		}
	}
}

// devices returns the names of all devices but those that a namespace is born with.
func (h *host) devices(t *testing.T) []string {
	t.Helper()
	links, err := h.dev.Links()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range links {
		if l.Kind == "bridge" || l.Kind == "veth" {
			names = append(names, l.Name)
		}
	}
	slices.Sort(names)
	return names
}

func testNetwork(i int) driver.Network {
	pool := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 24)
	return driver.Network{
		ID:      driver.NetworkID(fmt.Sprintf("%012x%052d", i, 0)),
		Options: driver.DefaultOptions(),
		Subnets: []driver.Subnet{{Pool: pool, Gateway: netip.PrefixFrom(pool.Addr().Next(), 24)}},
	}
}

func testEndpoint(n driver.Network, i int) driver.Endpoint {
	a := n.Subnets[0].Pool.Addr().As4()
	a[3] = byte(i + 1)
	addr := netip.AddrFrom4(a)
	return driver.Endpoint{
		ID:         driver.EndpointID(fmt.Sprintf("%011x%053d", 0xe00+i, 0)),
		Network:    n.ID,
		Address:    netip.PrefixFrom(addr, 24),
		MAC:        driver.MACFromAddr(addr),
		SandboxKey: "/var/run/docker/netns/x",
	}
}

func testSubnet6() driver.Subnet {
	return driver.Subnet{Pool: netip.MustParsePrefix("fd00:1::/64"), Gateway: address6(1)}
}

func address6(i int) netip.Prefix { return netip.MustParsePrefix(fmt.Sprintf("fd00:1::%x/64", i)) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNetwork_madeAndRemovedLeavesNothing(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	must(t, h.EnsureNetwork(t.Context(), n))
	must(t, h.EnsureNetwork(t.Context(), n)) // again is the same as once
	got := h.ns.Exec(t, "ip", "address", "show", "dev", "on-000000000001")
	if !strings.Contains(got, "inet 10.1.0.1/24") || !strings.Contains(got, "02:42:0a:01:00:01") {
		t.Errorf("bridge is\n%s\nwant the gateway's address and the MAC that follows from it", got)
	}
	must(t, h.RemoveNetwork(t.Context(), n))
	must(t, h.RemoveNetwork(t.Context(), n))
	if left := h.devices(t); len(left) > 0 {
		t.Errorf("devices left: %v", left)
	}
	if rules := h.ns.Exec(t, "nft", "list", "table", "inet", "ournet"); strings.Contains(rules, "on-0000") || strings.Contains(rules, "10.1.0.0") {
		t.Errorf("rules left:\n%s", rules)
	}
}

func TestEnsureNetwork_refusesWhatTheHostRoutesElsewhere(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	h.ns.Exec(t, "ip", "link", "add", "lan0", "type", "bridge")
	h.ns.Exec(t, "ip", "address", "add", "10.1.0.7/16", "dev", "lan0")
	h.ns.Exec(t, "ip", "link", "set", "lan0", "up")
	err := h.EnsureNetwork(t.Context(), testNetwork(1))
	if !errors.Is(err, driver.ErrOverlap) {
		t.Fatalf("EnsureNetwork = %v, want ErrOverlap", err)
	}
	for _, word := range []string{"10.1.0.0/24", "10.1.0.0/16", "lan0", "--subnet"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
	if got := h.devices(t); !slices.Equal(got, []string{"lan0"}) {
		t.Errorf("devices = %v, want lan0 alone", got)
	}
}

func TestRemoveNetwork_leavesABridgeThatTheUserMade(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	h.ns.Exec(t, "ip", "link", "add", "br0", "type", "bridge")
	n := testNetwork(1)
	n.Options.BridgeName = "br0"
	must(t, h.EnsureNetwork(t.Context(), n))
	must(t, h.RemoveNetwork(t.Context(), n))
	if got := h.devices(t); !slices.Equal(got, []string{"br0"}) {
		t.Errorf("devices = %v, want br0", got)
	}
}

func TestCheck_namesTheOtherNetwork(t *testing.T) {
	t.Parallel()
	d := bridge.New(nil, "ournet", bridge.Kernel{})
	first := testNetwork(1)
	sameName := testNetwork(2)
	sameName.Options.BridgeName = "on-000000000001"
	small := testNetwork(3)
	small.Options.MTU = 1000
	small.Subnets = append(small.Subnets, driver.Subnet{Pool: netip.MustParsePrefix("fd00::/64")})
	overlapping := testNetwork(1)
	overlapping.ID = testNetwork(9).ID
	for _, tc := range []struct {
		name string
		n    driver.Network
		want error
		says string
	}{
		{"alone", testNetwork(4), nil, ""},
		{"same subnet", overlapping, driver.ErrOverlap, first.ID.Short()},
		{"same bridge", sameName, driver.ErrInUse, first.ID.Short()},
		{"MTU too small for IPv6", small, driver.ErrOption, "1280"},
		{"no subnet", driver.Network{ID: testNetwork(5).ID}, driver.ErrOption, "subnet"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := d.Check(tc.n, []driver.Network{first})
			if !errors.Is(err, tc.want) {
				t.Fatalf("Check = %v, want %v", err, tc.want)
			}
			if err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %q does not say %q", err, tc.says)
			}
		})
	}
}

func TestJoin_makesThePairAndNamesTheGateway(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	n.Options.MTU = 1400
	ep := testEndpoint(n, 1)
	must(t, h.EnsureNetwork(t.Context(), n))
	first, err := h.Join(t.Context(), n, ep)
	must(t, err)
	again, err := h.Join(t.Context(), n, ep)
	must(t, err)
	if !reflect.DeepEqual(first, again) {
		t.Errorf("Join again = %+v, want %+v", again, first)
	}
	if want := netip.MustParseAddr("10.1.0.1"); first.Gateway != want || first.DstPrefix != "eth" {
		t.Errorf("Join = %+v, want gateway %s and prefix eth", first, want)
	}
	peer, err := h.dev.Link(first.SrcName)
	must(t, err)
	if peer.MTU != 1400 || peer.MAC.String() != "02:42:0a:01:00:02" {
		t.Errorf("container side has MTU %d and MAC %s, want 1400 and 02:42:0a:01:00:02", peer.MTU, peer.MAC)
	}
	must(t, h.Leave(t.Context(), n, ep))
	must(t, h.Leave(t.Context(), n, ep))
	if got := h.devices(t); !slices.Equal(got, []string{"on-000000000001"}) {
		t.Errorf("devices after Leave = %v, want the bridge alone", got)
	}
}

func TestJoin_internalNetworkHasNoGateway(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	n.Internal = true
	must(t, h.EnsureNetwork(t.Context(), n))
	att, err := h.Join(t.Context(), n, testEndpoint(n, 1))
	must(t, err)
	if att.Gateway.IsValid() || att.GatewayIPv6.IsValid() {
		t.Errorf("Join = %+v, want no gateway", att)
	}
}

func TestEnsureNetwork_halvesOfTheDefaultRouteAreNoObstacle(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	h.ns.Exec(t, "ip", "link", "add", "tun0", "type", "bridge")
	h.ns.Exec(t, "ip", "link", "set", "tun0", "up")
	h.ns.Exec(t, "ip", "route", "add", "0.0.0.0/1", "dev", "tun0")
	h.ns.Exec(t, "ip", "route", "add", "128.0.0.0/1", "dev", "tun0")
	must(t, h.EnsureNetwork(t.Context(), testNetwork(1)))
}

func TestRemoveNetwork_closesLoopbackOnABridgeThatStays(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	h.ns.Exec(t, "ip", "link", "add", "br0", "type", "bridge")
	n := testNetwork(1)
	n.Options.BridgeName = "br0"
	must(t, h.EnsureNetwork(t.Context(), n))
	must(t, h.RemoveNetwork(t.Context(), n))
	if v := strings.TrimSpace(h.ns.Exec(t, "cat", "/proc/sys/net/ipv4/conf/br0/route_localnet")); v != "0" {
		t.Errorf("route_localnet = %s", v)
	}
}

func TestCheck_refusesTheEnginesBridges(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	n.Options.BridgeName = "docker0"
	if err := h.Check(n, nil); err == nil {
		t.Errorf("docker0 may be taken over")
	}
}
