package overlay_test

import (
	"fmt"
	"testing"
)

// ipHeaders are those of an IPv4 and of an IPv6 packet, with ICMP's.
const (
	ipHeaders  = 28
	ip6Headers = 48
)

func TestTraffic_containersOfAllHostsAndSubnetsReachEachOther(t *testing.T) {
	t.Parallel()
	for _, ipv6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("IPv6 underlay %t", ipv6), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 3, ipv6)
			l.up(t)
			containers := []*container{
				l.hosts[0].start(t, 1, "10.1.0.2/24", "fd00:1::2/64"),
				l.hosts[0].start(t, 2, "10.1.1.2/24", "fd00:2::2/64"),
				l.hosts[1].start(t, 3, "10.1.0.3/24", "fd00:2::3/64"),
				l.hosts[2].start(t, 4, "10.1.1.4/24", "fd00:1::4/64"),
			}
			for _, from := range containers {
				for _, to := range containers {
					if from == to {
						continue
					}
					if !from.reaches(t, to.ep.Address.Addr(), l.mtu()-ipHeaders) {
						t.Errorf("%s does not reach %s", from.ep.Address, to.ep.Address)
					}
					if !from.reaches(t, to.ep.AddressIPv6.Addr(), l.mtu()-ip6Headers) {
						t.Errorf("%s does not reach %s", from.ep.AddressIPv6, to.ep.AddressIPv6)
					}
				}
			}
			for _, h := range l.hosts {
				if repairs := h.reconcile(t); len(repairs) > 0 {
					t.Errorf("host %d: Reconcile of what is right repaired %q", h.num, repairs)
				}
			}
			if containers[0].reaches(t, containers[2].ep.Address.Addr(), l.mtu()-ipHeaders+1) {
				t.Error("a packet larger than the MTU passed")
			}
		})
	}
}

// The engine sets FORWARD's policy to DROP, and br_netfilter sends there what goes from
// port to port of a bridge.
func TestTraffic_passesTheEnginesPolicyWithBridgeNetfilter(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, false)
	for _, h := range l.hosts {
		for _, cmd := range []string{
			"sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1",
			"iptables-nft -P FORWARD DROP", "ip6tables-nft -P FORWARD DROP",
		} {
			h.ns.Exec(t, "sh", "-c", cmd)
		}
	}
	l.up(t)
	a, b := l.hosts[0].start(t, 1, "10.1.0.2/24", "fd00:1::2/64"), l.hosts[1].start(t, 2, "10.1.1.3/24", "fd00:2::3/64")
	for _, addr := range b.ep.Addrs() {
		if !a.reaches(t, addr, 56) {
			t.Errorf("%s is not reached", addr)
		}
	}
}
