package netnstest

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// The longest way of any test and more: four routers, none of which knows the next yet.
// What gets through must have done so when Settle returns, and on a busy machine too,
// or tests would take it for dropped.
func TestSettle_whatGetsThroughHasDoneSo(t *testing.T) {
	t.Parallel()
	const hops = 5
	way := []*Namespace{New(t)}
	for i := range hops {
		way = append(way, New(t))
		left := Port{Name: "right", Addrs: []string{fmt.Sprintf("10.0.%d.1/24", i), fmt.Sprintf("fd00:%d::1/64", i)}}
		right := Port{Name: "left", Addrs: []string{fmt.Sprintf("10.0.%d.2/24", i), fmt.Sprintf("fd00:%d::2/64", i)}}
		Pair(t, way[i], left, way[i+1], right)
	}
	for i, ns := range way {
		ns.Exec(t, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
		for j := range hops {
			if j > i {
				ns.Route(t, fmt.Sprintf("10.0.%d.0/24", j), fmt.Sprintf("10.0.%d.2", i))
				ns.Route(t, fmt.Sprintf("fd00:%d::/64", j), fmt.Sprintf("fd00:%d::2", i))
			}
			if j < i-1 {
				ns.Route(t, fmt.Sprintf("10.0.%d.0/24", j), fmt.Sprintf("10.0.%d.1", i-1))
				ns.Route(t, fmt.Sprintf("fd00:%d::/64", j), fmt.Sprintf("fd00:%d::1", i-1))
			}
		}
	}
	first, last := way[0], way[hops]
	listen(t, last, "[::]:80")
	ends := []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.0.%d.2", hops-1)), netip.MustParseAddr(fmt.Sprintf("fd00:%d::2", hops-1))}
	for i, ns := range way { // until each router can ask for its neighbours
		for devices := min(1, i) + min(1, hops-i); strings.Count(ns.Exec(t, "ip", "-6", "-o", "address", "show", "scope", "link", "-tentative"), "\n") < devices; {
			time.Sleep(time.Millisecond) //nolint:forbidigo // nothing tells of it
		}
	}
	for range 20 {
		for _, ns := range way {
			ns.Exec(t, "ip", "neigh", "flush", "all")
		}
		for _, to := range ends {
			for _, tc := range []struct {
				network string
				port    uint16
				want    Outcome
			}{{"tcp", 80, Answer}, {"tcp", 81, Refusal}, {"udp", 81, Refusal}, {"ping", 0, Answer}} {
				a := first.Attempt(t, tc.network, netip.AddrPortFrom(to, tc.port))
				first.Settle(t)
				if got, err := a.Outcome(); err != nil || got != tc.want {
					t.Fatalf("%s to %s port %d: %s, %v; want %s", tc.network, to, tc.port, got, err, tc.want)
				}
			}
		}
	}
}

func TestAttempt_whatIsDroppedIsSilent(t *testing.T) {
	t.Parallel()
	a, b := New(t), New(t)
	Pair(t, a, Port{Name: "eth0", Addrs: []string{"10.0.0.1/24", "fd00::1/64"}}, b, Port{Name: "eth0", Addrs: []string{"10.0.0.2/24", "fd00::2/64"}})
	listen(t, b, "[::]:80")
	for _, drop := range []struct {
		ns   *Namespace
		hook string
	}{{b, "input"}, {b, "output"}, {a, "output"}} {
		drop.ns.Exec(t, "nft", "add", "table", "inet", "test")
		drop.ns.Exec(t, "nft", "add", "chain", "inet", "test", "out", "{ type filter hook "+drop.hook+" priority 0 ; }")
		drop.ns.Exec(t, "nft", "add", "rule", "inet", "test", "out", "oifname != lo", "iifname != lo", "drop")
		for _, addr := range []string{"10.0.0.2", "fd00::2"} {
			for _, network := range []string{"tcp", "udp", "ping"} {
				attempt := a.Attempt(t, network, netip.AddrPortFrom(netip.MustParseAddr(addr), 80))
				a.Settle(t)
				if got, err := attempt.Outcome(); err != nil || got != Silence {
					t.Errorf("%s to %s, dropped at %s: %s, %v; want %s", network, addr, drop.hook, got, err, Silence)
				}
			}
		}
		drop.ns.Exec(t, "nft", "delete", "table", "inet", "test")
	}
}

// listen accepts nothing: the kernel makes the connection.
func listen(t *testing.T, ns *Namespace, addr string) {
	t.Helper()
	var l net.Listener
	ns.Run(t, func() (err error) {
		var lc net.ListenConfig
		l, err = lc.Listen(t.Context(), "tcp", addr)
		return err
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}
