package overlay_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// countFrames has a host count the frames of a kind that it sends into the tunnel.
func (h *host) countFrames(t *testing.T, match string) (sent func() string) {
	t.Helper()
	for _, cmd := range []string{
		"add table netdev seen", "add chain netdev seen out { type filter hook egress device onx123401 priority 0 ; }",
		"add rule netdev seen out " + match + " counter",
	} {
		h.ns.Exec(t, "nft", strings.Fields(cmd)...)
	}
	return func() string {
		list := h.ns.Exec(t, "nft", "list", "chain", "netdev", "seen", "out")
		_, counter, _ := strings.Cut(list, "counter packets ")
		packets, _, _ := strings.Cut(counter, " ")
		return packets
	}
}

// Who has an address is answered on the host, also of a container of the same host
// that has said nothing for a while.
func TestNeighbours_noQuestionLeavesTheHostWhoseAnswerIsKnown(t *testing.T) {
	t.Parallel()
	for name, match := range map[string]string{
		"ARP": "ether type arp", "neighbour discovery": "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2, false)
			l.up(t)
			h := l.hosts[0]
			asks := h.start(t, 1, "10.1.0.2/24", "fd00:1::2/64")
			near := h.start(t, 2, "10.1.1.3/24", "fd00:2::3/64")
			far := l.hosts[1].start(t, 3, "10.1.0.4/24", "fd00:1::4/64")
			sent := h.countFrames(t, match)
			for range 2 {
				for _, to := range []*container{near, far} {
					for _, addr := range to.ep.Addrs() {
						if !asks.reaches(t, addr, 56) {
							t.Errorf("%s is not reached", addr)
						}
					}
				}
				// As after a while without a word.
				asks.Exec(t, "ip", "neigh", "flush", "dev", "eth0")
			}
			if n := sent(); n != "0" {
				t.Errorf("%s questions left the host", n)
			}
			// What nobody was told of is asked for everywhere.
			asks.reaches(t, l.net.Subnets[0].Pool.Addr().Next(), 56)
			asks.reaches(t, l.net.Subnets[2].Pool.Addr().Next(), 56)
			if n := sent(); n == "0" {
				t.Error("a question that has no known answer stayed on the host; does the test count at all?")
			}
		})
	}
}

// A broadcast is for all containers of the network, on hosts that take part in it.
func TestFlood_reachesEveryHostOfTheNetwork(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3, false)
	l.up(t)
	all := make([]*container, 3)
	for i, h := range l.hosts {
		all[i] = h.start(t, i+1, fmt.Sprintf("10.1.0.%d/24", i+2))
	}
	var next []func() string
	for _, c := range all[1:] {
		next = append(next, c.listen(t))
	}
	send(t, all[0].Namespace, netip.MustParseAddrPort(fmt.Sprintf("10.1.0.255:%d", innerPort)), []byte("all"))
	for i, text := range next {
		if got := text(); got != "all" {
			t.Errorf("container %d got %q, want the broadcast", i+1, got)
		}
	}
}

// A container whose host is known is reached before anybody was told of itself.
func TestFlood_containerThatNobodyWasToldOfIsReached(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, false)
	l.up(t)
	a, b := l.hosts[0].start(t, 1, "10.1.0.2/24", "fd00:1::2/64"), l.hosts[1].start(t, 2, "10.1.0.3/24", "fd00:1::3/64")
	l.withdraw(t, l.hosts[0])
	l.withdraw(t, l.hosts[1])
	l.refresh(t, l.hosts[1])
	for _, addr := range b.ep.Addrs() {
		if !a.reaches(t, addr, 56) {
			t.Errorf("%s is not reached", addr)
		}
	}
}

// With the check of sources a container sends with no other address at all; without it
// another's traffic still goes to the other.
func TestForgery_drawsNoTraffic(t *testing.T) {
	t.Parallel()
	for _, allow := range []bool{false, true} {
		t.Run(fmt.Sprintf("forging allowed %t", allow), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2, false)
			l.net.Options.AllowSpoofing = allow
			l.up(t)
			client := l.hosts[0].start(t, 1, "10.1.0.2/24")
			victim := l.hosts[1].start(t, 2, "10.1.0.3/24")
			for _, h := range l.hosts {
				forger := h.start(t, 2+h.num, fmt.Sprintf("10.1.0.%d/24", 10+h.num))
				forger.Exec(t, "ip", "link", "set", "eth0", "address", victim.ep.MAC.String())
				forger.Exec(t, "ip", "address", "add", "10.1.0.3/24", "dev", "eth0")
				if out, err := forger.TryExec(t, "ping", "-b", "-c", "2", "-w", "1", "-i", "0.2", "-I", "10.1.0.3", "10.1.0.255"); err == nil {
					t.Errorf("a broadcast was answered:\n%s", out)
				}
			}
			listening := victim.listen(t)
			client.Exec(t, "ip", "neigh", "flush", "dev", "eth0")
			for i := range 3 {
				text := fmt.Sprintf("for the victim %d", i)
				send(t, client.Namespace, netip.AddrPortFrom(victim.ep.Address.Addr(), innerPort), []byte(text))
				if got := listening(); got != text {
					t.Errorf("the victim got %q, want %q", got, text)
				}
			}
		})
	}
}
