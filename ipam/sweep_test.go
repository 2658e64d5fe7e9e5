package ipam_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/ipam"
)

func TestSweep_freesWhatWasNeverTakenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kept := w.pool("172.25.0.0/16", "", "net")
	w.lease(gateway(kept, ""))
	bound, lost := w.lease(named(kept, "web")), w.lease(named(kept, "lost"))
	nameless := w.lease(any4(kept))
	w.bind(kept, bound, "ep")
	w.unboundPool("172.26.0.0/16", "")
	w.clock.advance(ipam.DefaultConfirm - time.Second)
	w.lease(named(kept, "lost")) // asked again: its time begins anew
	if got := w.sweep(); len(got) != 0 {
		t.Errorf("swept too early: %q", got)
	}
	w.clock.advance(time.Second)
	want := []string{
		"address " + nameless.String() + " of network net, which no endpoint has",
		"address pool 172.26.0.0/16, which no network has",
	}
	if diff := cmp.Diff(want, w.sweep()); diff != "" {
		t.Errorf("swept (-want +got):\n%s", diff)
	}
	w.clock.advance(ipam.DefaultConfirm)
	if got := w.sweep(); len(got) != 1 || !strings.Contains(got[0], lost.String()) {
		t.Errorf("swept %q, want %s", got, lost)
	}
	w.wantLease(named(kept, "lost"), lost.String()) // remembered all the same
	w.clock.advance(ipam.DefaultConfirm)
	w.sweep()
	// The memory of a nameless address is not kept for ever, that of a name is.
	w.wantKeys("172.25.0.0_16/leases/172.25.0.1", "172.25.0.0_16/leases/"+bound.String(), "172.25.0.0_16/leases/"+lost.String(), "172.25.0.0_16/pool")
}

func TestSweep_sparesPoolsThatNetworksOfOtherDriversHave(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.unboundPool("172.26.0.0/16", "")
	addr := w.lease(named(id, "web"))
	w.clock.advance(2 * ipam.DefaultConfirm)
	reclaimed, err := w.Sweep(t.Context(), []netip.Prefix{netip.MustParsePrefix("172.26.0.0/16")})
	if err != nil || len(reclaimed) > 0 {
		t.Fatalf("Sweep = %q, %v, want nothing", reclaimed, err)
	}
	w.wantKeys("172.26.0.0_16/leases/"+addr.String(), "172.26.0.0_16/pool")
	if got := w.sweep(); len(got) != 1 {
		t.Errorf("swept %q once no network has it, want the pool", got)
	}
}

func TestSweep_sparesPoolsOfWhichTheEngineShowsOnlyTheLength(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, _, err := w.RequestPool(t.Context(), poolRequest("0.0.0.0/26", "")); err != nil {
		t.Fatal(err)
	}
	w.unboundPool("172.26.0.0/26", "") // chosen by the user
	w.clock.advance(2 * ipam.DefaultConfirm)
	reclaimed, err := w.Sweep(t.Context(), []netip.Prefix{netip.MustParsePrefix("0.0.0.0/26"), netip.MustParsePrefix("::/120")})
	if err != nil || len(reclaimed) != 1 || !strings.Contains(reclaimed[0], "172.26.0.0/26") {
		t.Fatalf("Sweep = %q, %v, want the user's subnet alone", reclaimed, err)
	}
	if reclaimed, err = w.Sweep(t.Context(), []netip.Prefix{netip.MustParsePrefix("0.0.0.0/25"), netip.MustParsePrefix("::/26")}); err != nil || len(reclaimed) != 1 {
		t.Errorf("Sweep = %q, %v, want the pool that nobody has", reclaimed, err)
	}
}

func TestSweep_aPoolThatIsAskedForAgainHasItsTimeAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.unboundPool("172.25.0.0/16", "")
	w.clock.advance(ipam.DefaultConfirm - time.Second)
	w.unboundPool("172.25.0.0/16", "")
	w.clock.advance(ipam.DefaultConfirm - time.Second)
	if got := w.sweep(); len(got) != 0 {
		t.Errorf("swept %q", got)
	}
}

func TestSweep_timeToConfirmBeginsAnewAtOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/16", "", "net")
	a := w.lease(any4(id))
	w.clock.advance(time.Hour)
	w.open()
	if got := w.sweep(); len(got) != 0 {
		t.Errorf("swept %q", got)
	}
	live := []ipam.LiveNetwork{{Network: "net", Pools: []ipam.PoolID{id}, Endpoints: map[string][]netip.Addr{"ep": {a}}}}
	if err := w.Adopt(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(time.Hour)
	if got := w.sweep(); len(got) != 0 {
		t.Errorf("swept %q of a live network", got)
	}
}

func TestSweep_memoryIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("10.0.0.0/8", "", "net")
	for i := range 1100 {
		a := w.lease(named(id, fmt.Sprint("job", i)))
		w.release(id, a)
		w.clock.advance(time.Second)
	}
	w.sweep()
	if n := len(w.keys()); n > 1024+1 || n < 900 {
		t.Errorf("%d records are left of 1100 jobs", n)
	}
	w.wantSameAfterReopen()
	w.wantLease(named(id, "job1099"), "10.0.4.76") // 1100 = 4*256 + 76
}

func TestSweep_namesThatMovedOnAreForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/16", "", "net")
	old := w.lease(named(id, "web"))
	w.release(id, old)
	now := w.lease(static(id, "172.25.9.9", "web"))
	w.bind(id, now, "ep")
	w.sweep()
	w.wantKeys("172.25.0.0_16/leases/172.25.9.9", "172.25.0.0_16/pool")
	w.UnbindAddress(id, now, "ep")
	w.release(id, now)
	w.wantLease(named(id, "web"), "172.25.9.9")
}

func TestAdopt_bindingsAreExactlyTheLiveOnes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two := w.pool("172.25.0.0/16", "", "net1"), w.pool("fd00:2::/64", "", "net2")
	a, b := w.lease(any4(one)), w.lease(any4(one))
	c := w.lease(any4(two))
	w.bind(one, a, "ep-a")
	w.open()
	live := []ipam.LiveNetwork{{
		Network: "net1", Pools: []ipam.PoolID{one, two, "LocalDefault/172.17.0.0/16", "odd"},
		Endpoints: map[string][]netip.Addr{"ep-b": {b, c}, "ep-x": {netip.MustParseAddr("172.17.0.2")}},
	}}
	for range 2 {
		if err := w.Adopt(t.Context(), live); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, w.BindPool(two, "net2"), ipam.ErrInUse, "net1")
	wantError(t, w.BindAddress(one, b, "ep"), ipam.ErrInUse, "ep-b")
	w.clock.advance(time.Hour)
	if got := w.sweep(); len(got) != 1 || !strings.Contains(got[0], a.String()) {
		t.Errorf("swept %q, want %s", got, a)
	}
	if err := w.Adopt(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := w.sweep(); len(got) != 0 {
		t.Errorf("swept %q at once after the last network went", got)
	}
	w.clock.advance(time.Hour)
	if got := w.sweep(); len(got) != 2 {
		t.Errorf("swept %q, want both pools", got)
	}
	w.wantKeys()
}

func TestAdopt_leasesAgainWhatIsLiveButUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := ipam.PoolID("ournet-host/172.25.0.0/16")
	live := []ipam.LiveNetwork{{Network: "net", Pools: []ipam.PoolID{id}, Endpoints: map[string][]netip.Addr{
		"ep1": {netip.MustParseAddr("172.25.0.2")}, "ep2": {netip.MustParseAddr("172.25.0.3")},
	}}}
	if err := w.Adopt(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	w.wantKeys("172.25.0.0_16/leases/172.25.0.2", "172.25.0.0_16/leases/172.25.0.3", "172.25.0.0_16/pool")
	w.wantRefused(static(id, "172.25.0.3", "web"), ipam.ErrInUse, "ep2")
	w.wantLease(any4(id), "172.25.0.1")
	w.wantLease(any4(id), "172.25.0.4")
	if n := len(w.logged.AllEntries()); n != 3 {
		t.Errorf("%d warnings, want one for each of 3", n)
	}
	w.wantSameAfterReopen()
}

func TestAdopt_conflictsAreToldAndTheRestIsDone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/16", "", "net1")
	gw := w.lease(gateway(id, ""))
	a := w.lease(any4(id))
	err := w.Adopt(t.Context(), []ipam.LiveNetwork{
		{Network: "net1", Pools: []ipam.PoolID{id}, Endpoints: map[string][]netip.Addr{"ep1": {a}, "ep2": {a}, "ep3": {gw}, "ep4": {netip.MustParseAddr("172.25.0.0")}}},
		{Network: "net2", Pools: []ipam.PoolID{id}},
		{Network: "net3", Pools: []ipam.PoolID{"ournet-host/172.25.7.0/24"}},
	})
	for _, part := range []string{"ep1 and ep2", "ep3", "gateway", "ep4", "net1 and net2", "172.25.7.0/24"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("Adopt: %v, want an error with %q", err, part)
		}
	}
	wantError(t, w.BindAddress(id, a, "ep9"), ipam.ErrInUse, "ep1")
	wantError(t, w.BindPool(id, "net9"), ipam.ErrInUse, "net1")
}

func TestPools_tellWhatIsUsedAndFree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.unboundPool("172.25.0.0/16", "172.25.1.0/24")
	w.lease(gateway(id, ""))
	w.lease(static(id, "172.25.1.9", ""))
	if err := w.BindPool(id, "net"); err != nil {
		t.Fatal(err)
	}
	a := w.lease(named(id, "web"))
	w.bind(id, a, "ep")
	w.release(id, w.lease(named(id, "gone")))
	w.pool("fd00::/64", "", "six")
	got := w.Pools()
	if len(got) != 2 || got[1].ID != "ournet-host/fd00::/64" || got[1].Free != 1<<64-1 || got[1].Used != 0 {
		t.Fatalf("Pools = %+v", got)
	}
	info := got[0]
	if info.ID != id || info.Subnet.String() != "172.25.0.0/16" || info.Range.String() != "172.25.1.0/24" ||
		info.Network != "net" || info.Used != 3 || info.Free != 254 {
		t.Errorf("Pools()[0] = %+v", info)
	}
	want := []string{"172.25.0.1 gateway  ", "172.25.1.0 dynamic web ep", "172.25.1.9 reserved  "}
	var leases []string
	for _, l := range info.Leases {
		leases = append(leases, fmt.Sprintf("%s %s %s %s", l.Address, l.Kind, l.Name, l.Endpoint))
	}
	if diff := cmp.Diff(want, leases); diff != "" {
		t.Errorf("leases (-want +got):\n%s", diff)
	}
}
