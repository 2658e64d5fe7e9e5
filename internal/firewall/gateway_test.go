package firewall_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ournet/ournet/internal/netnstest"
)

// What each mode of a gateway lets through, on a host set up in every way.
func TestGateway_letsInWhatItsModeSays(t *testing.T) {
	t.Parallel()
	for _, w := range worlds() {
		t.Run(w.String(), func(t *testing.T) {
			t.Parallel()
			l := newWorld(t, w)
			l.checkAll(t, append(routedChecks(), []check{
				// Translated, yet with every port open to those who can route to it.
				{"u1", at(outsideAddr, 80), hostAddr},
				{"outside", at(addr4("u1"), 80), outsideAddr},
				{"outside", at(addr6("u1"), 80), outsideAddr6},
				{"outside", "udp " + at(addr4("u2"), 80), outsideAddr},
				{"a1", at(addr4("u1"), 80), addr4("a1")},
				{"a1", at(addr6("u1"), 80), addr6("a1")},
				{"e1", at(addr4("u1"), 80), addr4("e1")},
				{"i1", at(addr4("u1"), 80), blocked},
				{"u1", at(addr4("a1"), 80), blocked},
				// With an address of the user's choice.
				{"s1", at(outsideAddr, 80), hostAlias},
				{"s1", "udp " + at(outsideAddr, 80), hostAlias},
				{"s1", at(outsideAddr6, 80), hostAlias6},
				{"s1", at(addr4("s2"), 80), addr4("s1")},
				{"s1", at(hostAddr, 8080), addr4("s1")},
				{"outside", at(addr4("s1"), 80), blocked},
				// Published on the host's loopback address alone, and open to a device that
				// is trusted; a port that is not published is not.
				{"outside", at(addr4("t1"), 80), outsideAddr},
				{"outside", at(addr6("t1"), 80), outsideAddr6},
				{"outside", "udp " + at(addr4("t1"), 80), blocked},
				{"outside", at(addr4("t2"), 80), blocked},
				{"outside", at(hostAddr, 8087), blocked},
				{"a1", at(addr4("t1"), 80), blocked},
				{"host", at("127.0.0.1", 8087), gateway("t")},
			}...))
			l.checkPings(t, map[string]bool{"r2": true, "t2": false, "a1": false, "u2": true, "i1": false})
			// Published twice, the port is open until the last goes.
			p := ports()[2]
			other := p
			other.HostPort++
			l.host.Run(t, func() error { return l.table.AddPorts(t.Context(), other) })
			l.host.Run(t, func() error { return l.table.RemovePorts(t.Context(), p) })
			l.checkAll(t, []check{{"outside", at(addr4("t1"), 80), outsideAddr}})
			l.host.Run(t, func() error { return l.table.RemovePorts(t.Context(), other) })
			l.checkAll(t, []check{{"outside", at(addr4("t1"), 80), blocked}})
			if changed := l.set(t, wantState()); len(changed) != 2 {
				t.Errorf("changed = %q, want the two sets that had the port", changed)
			}
		})
	}
}

// checkPings pings containers from outside, who shall answer or not.
func (l *lab) checkPings(t *testing.T, answers map[string]bool) {
	t.Helper()
	attempts := make(map[string]*netnstest.Attempt)
	for name := range answers {
		for _, addr := range []string{addr4(name), addr6(name)} {
			attempts[name+" at "+addr] = l.outside.Attempt(t, "ping", netip.AddrPortFrom(netip.MustParseAddr(addr), 0))
		}
	}
	l.settle(t)
	for at, a := range attempts {
		name, _, _ := strings.Cut(at, " ")
		if got, err := a.Outcome(); err != nil || (got == netnstest.Answer) != answers[name] {
			t.Errorf("ping of %s from outside: %s, %v; want an answer: %t", at, got, err, answers[name])
		}
	}
}

// routedChecks are those of a network that translates nothing: its published ports,
// and no others, are reached at the containers' own addresses, from everywhere but
// internal networks.
func routedChecks() []check {
	return []check{
		{"r1", at(outsideAddr, 80), addr4("r1")},
		{"r1", at(outsideAddr6, 80), addr6("r1")},
		{"outside", at(addr4("r1"), 80), outsideAddr},
		{"outside", at(addr6("r1"), 80), outsideAddr6},
		{"outside", "udp " + at(addr4("r1"), 80), blocked},
		{"outside", at(addr4("r2"), 80), blocked},
		{"outside", at(addr6("r2"), 80), blocked},
		{"a1", at(addr4("r1"), 80), addr4("a1")},
		{"a1", at(addr6("r1"), 80), addr6("a1")},
		{"e1", at(addr4("r1"), 80), addr4("e1")},
		{"a1", at(addr4("r2"), 80), blocked},
		{"i1", at(addr4("r1"), 80), blocked},
		{"r1", at(addr4("a1"), 80), blocked},
		{"r1", at(addr4("e1"), 80), blocked},
		{"r1", at(addr4("r2"), 80), addr4("r1")},
	}
}
