package firewall_test

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/ournet/ournet/internal/firewall"
)

// world is how a host may be set up.
type world struct {
	// iptables is the program that set the FORWARD policy to DROP, as the engine does.
	iptables string
	// bridged says that bridged packets pass the firewall (br_netfilter).
	bridged string
}

func worlds() []world {
	var out []world
	for _, program := range []string{"nft", "legacy"} {
		for _, bridged := range []string{"0", "1"} {
			out = append(out, world{program, bridged})
		}
	}
	return out
}

func (w world) String() string { return "iptables " + w.iptables + " br_netfilter " + w.bridged }

// newWorld returns a lab whose FORWARD policy is DROP, with our rules in it.
func newWorld(t *testing.T, w world) *lab {
	t.Helper()
	l := newLab(t)
	for _, program := range []string{"iptables-", "ip6tables-"} {
		l.host.Exec(t, program+w.iptables, "-P", "FORWARD", "DROP")
		l.host.Exec(t, program+w.iptables, append([]string{"-A"}, letOut()...)...)
	}
	l.sysctl(t, "net/bridge/bridge-nf-call-iptables", w.bridged)
	l.sysctl(t, "net/bridge/bridge-nf-call-ip6tables", w.bridged)
	l.set(t, wantState())
	return l
}

// letOut is the engine's rule for what leaves a network of its own that is not internal.
func letOut() []string { return strings.Fields("FORWARD -i docker0 ! -o docker0 -j ACCEPT") }

func at(addr string, port int) string {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(port)).String()
}

func TestPackets_goWhereTheyMayAndNowhereElse(t *testing.T) {
	t.Parallel()
	for _, w := range worlds() {
		t.Run(w.String(), func(t *testing.T) {
			t.Parallel()
			l := newWorld(t, w)
			checks := []check{
				// Within a network.
				{"a1", at(addr4("a2"), 80), addr4("a1")},
				{"a1", at(addr6("a2"), 80), addr6("a1")},
				{"i1", at(addr4("i2"), 80), addr4("i1")},
				{"host", at(addr4("a1"), 80), gateway("a")},
				{"host", at(addr4("b1"), 80), gateway("b")},
				// Between networks, of ours and of the engine's.
				{"a1", at(addr4("b1"), 80), blocked},
				{"b1", at(addr4("a1"), 80), blocked},
				{"a1", at(addr6("b1"), 80), blocked},
				{"a1", at(addr4("e1"), 80), blocked},
				{"e1", at(addr4("a1"), 80), blocked},
				{"a1", at(addr4("i1"), 80), blocked},
				{"i1", at(addr4("a1"), 80), blocked},
				// Out, with the host's address or their own.
				{"a1", at(outsideAddr, 80), hostAddr},
				{"a1", "udp " + at(outsideAddr, 80), hostAddr},
				{"b1", at(outsideAddr, 80), hostAddr},
				{"a1", at(outsideAddr6, 80), hostAddr6},
				{"c1", at(outsideAddr, 80), addr4("c1")},
				{"c1", at(outsideAddr6, 80), addr6("c1")},
				{"i1", at(outsideAddr, 80), blocked},
				{"i1", at(outsideAddr6, 80), blocked},
				// In, past the published ports.
				{"outside", at(addr4("a1"), 80), blocked},
				{"outside", at(addr6("a1"), 80), blocked},
				{"outside", at(addr4("c1"), 80), blocked},
				{"outside", at(addr4("i1"), 80), blocked},
			}
			if w.bridged == "1" {
				checks = append(checks, check{"b1", at(addr4("b2"), 80), blocked}, check{"b1", at(addr6("b2"), 80), blocked})
			}
			l.checkAll(t, checks)
		})
	}
}

// No answer does not mean that nothing got through: of an internal network, and of a
// container that pretends to be the host itself, not one packet may.
func TestPackets_notEvenOneWay(t *testing.T) {
	t.Parallel()
	for _, w := range worlds() {
		t.Run(w.String(), func(t *testing.T) {
			t.Parallel()
			l := newWorld(t, w)
			count := func(name, match string) {
				ns := l.namespace(name)
				ns.Exec(t, "nft", "add", "table", "inet", "test")
				ns.Exec(t, "nft", "add", "chain", "inet", "test", "in", "{ type filter hook input priority 0 ; }")
				ns.Exec(t, "nft", append([]string{"add", "rule", "inet", "test", "in"}, strings.Fields(match+" counter")...)...)
			}
			count("outside", "ip saddr 10.105.0.0/24")
			count("outside", "ip6 saddr fd00:105::/64")
			count("i1", "ip saddr != 10.105.0.0/24 meta l4proto tcp")
			count("i1", "ip6 saddr != fd00:105::/64 meta l4proto tcp")
			count("host", "iifname on-a ip saddr 127.0.0.0/8")
			a2 := l.namespace("a2")
			a2.Exec(t, "ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
			a2.Exec(t, "ip", "addr", "add", "127.0.0.1/32", "dev", "eth0")
			a2.Exec(t, "sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
			a2.Exec(t, "ip", "route", "change", "default", "via", gateway("a"), "src", "127.0.0.1")
			l.checkAll(t, []check{
				{"i1", at(outsideAddr, 80), blocked},
				{"i1", at(outsideAddr6, 80), blocked},
				{"outside", at(addr4("i1"), 80), blocked},
				{"outside", at(addr6("i1"), 80), blocked},
				{"outside", at(hostAddr, 8086), blocked},
				{"a2", "udp " + at(hostAddr, 80), blocked},
			})
			for _, name := range []string{"outside", "i1", "host"} {
				list := l.namespace(name).Exec(t, "nft", "list", "table", "inet", "test")
				for line := range strings.Lines(list) {
					if strings.Contains(line, "counter") && !strings.Contains(line, "packets 0 ") {
						t.Errorf("%s got %s", name, strings.TrimSpace(line))
					}
				}
			}
		})
	}
}

func gateway(letter string) string { return fmt.Sprintf("10.%d.0.1", letter[0]) }

func gateway6(letter string) string { return fmt.Sprintf("fd00:%d::1", letter[0]) }

// published returns the connections to published ports.
func published() []check {
	return []check{
		// From outside, to every address and to one.
		{"outside", at(hostAddr, 8080), outsideAddr},
		{"outside", at(hostAddr, 8081), outsideAddr},
		{"outside", at(hostAddr, 8083), outsideAddr},
		{"outside", at(hostAddr, 8085), outsideAddr},
		{"outside", "udp " + at(hostAddr, 8084), outsideAddr},
		{"outside", at(hostAddr6, 8080), outsideAddr6},
		{"outside", at(hostAddr6, 8081), outsideAddr6},
		// From the host itself.
		{"host", at(hostAddr, 8080), hostAddr},
		{"host", at(hostAddr, 8081), hostAddr},
		{"host", at("127.0.0.1", 8080), gateway("a")},
		{"host", at("127.0.0.1", 8082), gateway("a")},
		{"host", "udp " + at("127.0.0.1", 8084), gateway("a")},
		{"host", at(hostAddr6, 8080), hostAddr6},
		// IPv6 has no route_localnet; to be refused lets a client try 127.0.0.1.
		{"host", at("::1", 8080), refused},
		// From a container of another network, of ours and of the engine's.
		{"b2", at(hostAddr, 8080), addr4("b2")},
		{"b2", at(gateway("b"), 8080), addr4("b2")},
		{"b2", at(hostAddr, 8081), addr4("b2")},
		{"e1", at(hostAddr, 8080), addr4("e1")},
		// From the same container and from its neighbour.
		{"a1", at(hostAddr, 8080), gateway("a")},
		{"a1", at(gateway("a"), 8080), gateway("a")},
		{"a2", at(hostAddr, 8080), gateway("a")},
		{"a2", at(hostAddr, 8081), gateway("a")},
		{"a2", "udp " + at(hostAddr, 8084), gateway("a")},
		{"a2", at(hostAddr6, 8080), gateway6("a")},
		{"a1", at(hostAddr6, 8080), gateway6("a")},
		{"b2", at(hostAddr, 8083), gateway("b")},
		// Not from where they are not published.
		{"outside", at(hostAddr, 8082), blocked},
		{"outside", at(hostAddr, 8086), blocked},
		{"outside", "udp " + at(hostAddr, 8080), blocked},
		{"a2", at(hostAddr, 8082), blocked},
		{"i1", at(hostAddr, 8080), blocked},
		{"host", at(hostAddr, 8082), blocked},
		{"host", at("127.0.0.1", 8081), blocked},
	}
}

func TestPublishedPort_isReachedFromEverywhereUntilRemoved(t *testing.T) {
	t.Parallel()
	for _, w := range worlds() {
		t.Run(w.String(), func(t *testing.T) {
			t.Parallel()
			l := newWorld(t, w)
			l.checkAll(t, published())
			l.host.Run(t, func() error { return l.table.RemovePorts(t.Context(), ports()...) })
			var closed []check
			for _, c := range published() {
				closed = append(closed, check{c.from, c.to, blocked})
			}
			l.checkAll(t, closed)
			l.host.Run(t, func() error { return l.table.AddPorts(t.Context(), ports()...) })
			l.checkAll(t, published())
		})
	}
}

// A neighbour on the wire must not reach what is published on, or listens on, the
// host's loopback address, although route_localnet is set on our bridges.
func TestLoopback_isNotReachedFromAWire(t *testing.T) {
	t.Parallel()
	for _, w := range worlds() {
		t.Run(w.String(), func(t *testing.T) {
			t.Parallel()
			l := newWorld(t, w)
			l.serveAt(t, l.host, "127.0.0.1:9000")
			for name, via := range map[string]string{"outside": hostAddr, "a1": gateway("a"), "a2": gateway("a")} {
				ns := l.namespace(name)
				// What it takes to send to 127.0.0.1 by a wire.
				ns.Exec(t, "sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
				ns.Exec(t, "ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
				ns.Exec(t, "ip", "route", "add", "127.0.0.1", "via", via)
			}
			l.checkAll(t, []check{
				{"outside", at("127.0.0.1", 8082), blocked},
				{"outside", at("127.0.0.1", 8080), blocked},
				{"a2", at("127.0.0.1", 8082), blocked},
				{"a2", at("127.0.0.1", 9000), blocked},
				{"host", at("127.0.0.1", 9000), "127.0.0.1"},
			})
		})
	}
}

func TestForward_administratorsDropKeepsItsForce(t *testing.T) {
	t.Parallel()
	for _, w := range worlds() {
		t.Run(w.String(), func(t *testing.T) {
			t.Parallel()
			l := newWorld(t, w)
			ipt := func(args ...string) { l.host.Exec(t, "iptables-"+w.iptables, args...) }
			// As the engine does when it starts after us.
			ipt("-N", "DOCKER-USER")
			ipt("-A", "DOCKER-USER", "-s", outsideAddr, "-j", "DROP")
			ipt("-A", "DOCKER-USER", "-j", "RETURN")
			ipt("-A", "FORWARD", "-j", "DOCKER-USER")
			if changed := l.set(t, wantState()); len(changed) != 1 || !strings.Contains(changed[0], "jump to OURNET-FORWARD") {
				t.Errorf("changed = %q, want that the jump was moved behind DOCKER-USER", changed)
			}
			if changed := l.set(t, wantState()); len(changed) != 0 {
				t.Errorf("changed again: %q", changed)
			}
			l.checkAll(t, []check{
				{"outside", at(hostAddr, 8080), blocked},
				{"a1", at(outsideAddr, 80), blocked},
				{"host", at(hostAddr, 8080), hostAddr},
				{"b2", at(hostAddr, 8080), addr4("b2")},
				{"a1", at(addr4("a2"), 80), addr4("a1")},
			})
		})
	}
}

// Whether a container of the engine's may out is for the engine to say, also if it is
// out to a published port or an open network of ours.
func TestForward_engineJudgesWhatLeavesItsNetworks(t *testing.T) {
	t.Parallel()
	for _, w := range worlds() {
		t.Run(w.String(), func(t *testing.T) {
			t.Parallel()
			l := newWorld(t, w)
			calls := func(want4, want6 string) []check {
				return []check{
					{"e1", at(hostAddr, 8080), want4},
					{"e1", at(gateway("e"), 8080), want4},
					{"e1", at(hostAddr6, 8080), want6},
					{"e1", at(addr4("u1"), 80), want4},
					{"e1", at(addr6("u1"), 80), want6},
				}
			}
			l.checkAll(t, calls(addr4("e1"), addr6("e1")))
			for _, program := range []string{"iptables-", "ip6tables-"} {
				l.host.Exec(t, program+w.iptables, append([]string{"-D"}, letOut()...)...)
			}
			l.checkAll(t, calls(blocked, blocked))
		})
	}
}

// What our bits are for ends at our last chain, and other bits are not ours.
func TestMark_onlyOurBitsAreTakenOff(t *testing.T) {
	t.Parallel()
	l := newWorld(t, world{"nft", "1"})
	for _, cmd := range []string{
		"add table inet test",
		"add chain inet test first { type filter hook prerouting priority -290 ; }",
		"add rule inet test first meta mark set 0x00a50001",
		"add chain inet test passed { type filter hook forward priority 10 ; }",
		"add rule inet test passed meta mark & 0x08ffffff == 0x08a50001 counter",
		"add chain inet test last { type filter hook postrouting priority 400 ; }",
		"add rule inet test last meta mark 0x00a50001 counter",
		"add rule inet test last meta mark & 0x0c000000 != 0 counter",
	} {
		l.host.Exec(t, "nft", strings.Fields(cmd)...)
	}
	l.checkAll(t, []check{
		{"a1", at(outsideAddr, 80), hostAddr},
		{"a2", at(hostAddr, 8080), gateway("a")},
		{"a1", at(addr4("a2"), 80), addr4("a1")},
	})
	list := l.host.Exec(t, "nft", "list", "table", "inet", "test")
	for line := range strings.Lines(list) {
		if !strings.Contains(line, "counter") {
			continue
		}
		if none := strings.Contains(line, "packets 0 "); none != strings.Contains(line, "0x0c000000") {
			t.Errorf("unexpected count in %s of\n%s", line, list)
		}
	}
}

// An operator who asks what is dropped gets figures since the rules were made, and
// not since the last container came.
func TestCounters_areKeptOverChangesAndRepairsOfElements(t *testing.T) {
	t.Parallel()
	l := newWorld(t, world{"nft", "1"})
	l.checkAll(t, []check{{"a1", at(addr4("b1"), 80), blocked}, {"a1", at(addr4("a2"), 80), addr4("a1")}})
	counters := func() (packets []int) {
		var list strings.Builder
		for _, chain := range []string{"forward", "entry", "pass"} {
			list.WriteString(l.host.Exec(t, "nft", "list", "chain", "inet", "ournet", chain))
		}
		for _, m := range regexp.MustCompile(`counter packets (\d+) `).FindAllStringSubmatch(list.String(), -1) {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			packets = append(packets, n)
		}
		return packets
	}
	before := counters()
	if len(before) != 8 || before[5] == 0 || before[7] == 0 {
		t.Errorf("packets are %v, want some that were not published and some that passed", before)
	}
	l.host.Run(t, func() error {
		return errors.Join(l.table.RemovePorts(t.Context(), ports()...), l.table.AddPorts(t.Context(), ports()...),
			l.table.AddNetwork(t.Context(), firewall.Network{Bridge: "on-x"}), l.table.RemoveNetwork(t.Context(), "on-x"))
	})
	l.host.Exec(t, "nft", "flush", "set", "inet", "ournet", "same")
	l.host.Exec(t, "nft", "flush", "map", "inet", "ournet", "any4")
	if changed := l.set(t, wantState()); len(changed) != 2 {
		t.Errorf("changed = %q, want the two sets", changed)
	}
	// A client that is not answered may still be trying.
	for i, n := range counters() {
		if n < before[i] {
			t.Errorf("a counter went from %d packets to %d", before[i], n)
		}
	}
}
