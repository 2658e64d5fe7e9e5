package overlay_test

import (
	"strings"
	"testing"
)

func containsMAC(list string, c *container) bool { return strings.Contains(list, c.ep.MAC.String()) }

func TestRefresh_hostThatIsGoneIsNotSpokenTo(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, false)
	l.up(t)
	a, b := l.hosts[0].start(t, 1, "10.1.0.2/24"), l.hosts[1].start(t, 2, "10.1.0.3/24")
	if !a.reaches(t, b.ep.Address.Addr(), 56) {
		t.Fatal("the containers do not reach each other")
	}
	l.withdraw(t, l.hosts[1])
	l.hosts[0].ns.Run(t, func() error { return l.hosts[0].Refresh(t.Context(), *l.net) })
	if fdb := l.hosts[0].ns.Exec(t, "bridge", "fdb", "show"); containsMAC(fdb, b) {
		t.Errorf("the container of the other host is still known:\n%s", fdb)
	}
	if neighbours := l.hosts[0].ns.Exec(t, "ip", "neigh", "show", "nud", "permanent"); containsMAC(neighbours, b) {
		t.Errorf("the container of the other host is still known:\n%s", neighbours)
	}
}
