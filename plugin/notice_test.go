package plugin

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

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

// Who flushes the packet filter all the time, or a container that keeps deleting its
// interface, must not fill the disk.
func TestRepairs_thatRepeatAreFolded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, hook := test.NewNullLogger()
		r := newRepairs()
		lines := func() (all []string) {
			for _, e := range hook.AllEntries() {
				all = append(all, fmt.Sprint(e.Message, " ", e.Data["cause"], " ", e.Data["times"]))
			}
			hook.Reset()
			return all
		}
		report := func(cause string, did ...string) { r.report(log, cause, did) }
		for i := range 20 {
			report(fmt.Sprint("flush ", i), "nft table")
			<-time.After(time.Second)
		}
		report("other", "bridge on-2")
		var want []string
		for i := range foldAfter {
			want = append(want, fmt.Sprint("repaired: nft table flush ", i, " <nil>"))
		}
		want = append(want, "repaired: bridge on-2 other <nil>")
		if diff := cmp.Diff(want, lines()); diff != "" {
			t.Errorf("at first (-want +got):\n%s", diff)
		}
		for i := range 10 {
			<-time.After(10 * time.Second)
			report(fmt.Sprint("flush ", i), "nft table")
		}
		want = []string{"repaired: nft table flush 2 18", "repaired: nft table flush 8 6"}
		if diff := cmp.Diff(want, lines()); diff != "" {
			t.Errorf("later (-want +got):\n%s", diff)
		}
		for range 5 {
			<-time.After(sweepEvery)
			report(causeTime)
		}
		report("flush", "nft table")
		want = []string{"repaired: nft table flush 9 1", "repaired: nft table flush <nil>"}
		if diff := cmp.Diff(want, lines()); diff != "" {
			t.Errorf("in peace (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]uint64{"nft": 31, "bridge": 1}, r.snapshot()); diff != "" {
			t.Errorf("counted (-want +got):\n%s", diff)
		}
		if len(r.told) != 1 {
			t.Errorf("%d repairs are remembered, want the last", len(r.told))
		}
	})
}
