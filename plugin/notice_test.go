package plugin

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/ournet/ournet/internal/link"
)

// Every container that comes and goes makes a dozen events; only those that no verb
// accounts for may cost anything.
func TestJudge_eventsOfContainersAreNoCauseByThemselves(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		event   link.Event
		why     string
		suspect bool
	}{
		{"too many", link.Event{Resync: true}, "more changes of devices than could be told of", false},
		{"address", link.Event{Unaddressed: true}, "a device lost an address", false},
		{"bridge", link.Event{Name: "on-1", Kind: "bridge", Idle: true}, "bridge on-1 changed", false},
		{"bridge gone", link.Event{Name: "on-1", Kind: "bridge", Idle: true, Deleted: true}, "bridge on-1 was deleted", false},
		{"tunnel", link.Event{Name: "onx1", Kind: "vxlan"}, "tunnel onx1 changed", false},
		{"tunnel gone", link.Event{Name: "onx1", Kind: "vxlan", Idle: true, Deleted: true}, "tunnel onx1 was deleted", false},
		{"port", link.Event{Name: "onv1", Kind: "veth"}, "", false},
		{"port gone", link.Event{Name: "onv1", Kind: "veth", Deleted: true}, "", true},
		{"port down or off its bridge", link.Event{Name: "onv1", Kind: "veth", Idle: true}, "", true},
		{"hardware", link.Event{Name: "eth0", Kind: "device", Idle: true}, "", false},
	} {
		if why, suspect := judge(tc.event); why != tc.why || suspect != tc.suspect {
			t.Errorf("%s: judge = %q, %t; want %q, %t", tc.name, why, suspect, tc.why, tc.suspect)
		}
	}
}

func TestRepairs_areLoggedOnceWithTheirCauseAndCounted(t *testing.T) {
	t.Parallel()
	log, hook := test.NewNullLogger()
	r := newRepairs()
	r.report(log, "packet filter changed by nft", []string{"nft table inet ournet was missing", "nft set x", "bridge on-1 was changed"})
	r.report(log, "periodic comparison", nil)
	want := map[string]uint64{"nft": 2, "bridge": 1}
	if diff := cmp.Diff(want, r.snapshot()); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
	if len(hook.Entries) != 3 {
		t.Fatalf("%d lines were logged, want 3", len(hook.Entries))
	}
	first := hook.Entries[0]
	if first.Level != logrus.WarnLevel || first.Message != "repaired: nft table inet ournet was missing" ||
		first.Data["cause"] != "packet filter changed by nft" {
		t.Errorf("logged %v %q %v", first.Level, first.Message, first.Data)
	}
}
