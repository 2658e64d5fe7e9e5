package firewall_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/netnstest"
)

// sharers returns two tables in one place, as a process makes them.
func sharers(t *testing.T) (one, other *firewall.Table) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	one, err := firewall.New(log, hostfs.New("/"), firewall.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return one, one.Share()
}

func setAll(t *testing.T, table *firewall.Table, want firewall.State) []string {
	t.Helper()
	changed, err := table.Set(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// What one wants is left alone by the other, also by that of the next process before
// the one has spoken.
func TestShare_neitherTakesTheOthersForLeftOver(t *testing.T) {
	t.Parallel()
	ns := netnstest.Enter(t)
	bridges := firewall.State{Networks: []firewall.Network{{Bridge: "on-1", ICC: true}}}
	overlays := firewall.State{
		Networks: []firewall.Network{{Bridge: "on-2", ICC: true, Internal: true, Sealed: true, Tunnel: firewall.Tunnel{Port: 4789, VNI: 5}}},
		Underlay: firewall.Underlay{Port: 4789, VTEPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
	}
	one, other := sharers(t)
	setAll(t, one, bridges)
	setAll(t, other, overlays)
	both := ns.Exec(t, "nft", "list", "ruleset")
	for _, name := range []string{`"on-1"`, `"on-2"`, "192.0.2.1"} {
		if !strings.Contains(both, name) {
			t.Errorf("%s is not there:\n%s", name, both)
		}
	}
	next, second := sharers(t)
	if changed := setAll(t, next, bridges); len(changed) > 0 {
		t.Errorf("the first Set of the next process changed %q", changed)
	}
	if changed := setAll(t, second, overlays); len(changed) > 0 {
		t.Errorf("the second Set of the next process changed %q", changed)
	}
	if changed := setAll(t, next, firewall.State{}); len(changed) == 0 {
		t.Error("what the first no longer wants stays")
	}
	if err := second.SetUnderlay(t.Context(), firewall.Underlay{Port: 4789}); err != nil {
		t.Fatal(err)
	}
	left := ns.Exec(t, "nft", "list", "ruleset")
	if strings.Contains(left, `"on-1"`) || strings.Contains(left, "192.0.2.1") || !strings.Contains(left, `"on-2"`) {
		t.Errorf("want on-2 alone:\n%s", left)
	}
}

// What a process that had more networks left over goes when both have spoken.
func TestShare_leftOversGoWhenBothHaveSpoken(t *testing.T) {
	t.Parallel()
	ns := netnstest.Enter(t)
	one, other := sharers(t)
	setAll(t, one, firewall.State{Networks: []firewall.Network{{Bridge: "on-1"}}})
	setAll(t, other, firewall.State{Networks: []firewall.Network{{Bridge: "on-2"}}})
	next, second := sharers(t)
	setAll(t, next, firewall.State{})
	setAll(t, second, firewall.State{})
	if left := ns.Exec(t, "nft", "list", "ruleset"); strings.Contains(left, `"on-`) {
		t.Errorf("left:\n%s", left)
	}
}
