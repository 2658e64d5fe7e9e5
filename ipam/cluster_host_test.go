package ipam_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ournet/ournet/ipam"
)

func TestCluster_hostThatWasFreedComesBack(t *testing.T) {
	t.Parallel()
	l := newLand(t, "a", "b")
	id := l.network("10.1.0.0/28", "")
	a, b := l.worlds["a"], l.worlds["b"]
	kept, lost := a.lease(any4(id)), a.lease(any4(id))
	a.bind(id, kept, "endpoint-kept")
	a.bind(id, lost, "endpoint-lost")
	if err := b.FreeHost(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	b.wantLease(static(id, lost.String(), "web"), lost.String())
	l.run("a")
	l.await("an error", func() bool {
		return slices.ContainsFunc(a.logLines(), func(s string) bool {
			return strings.Contains(s, lost.String()) && strings.Contains(s, "endpoint-los") && strings.Contains(s, "host b")
		})
	})
	for _, s := range a.logLines() {
		if strings.Contains(s, "address "+kept.String()) {
			t.Errorf("logged %q", s)
		}
	}
	_, err := b.RequestAddress(t.Context(), static(id, kept.String(), "other"))
	wantError(t, err, ipam.ErrInUse, kept.String(), "endpoint-kep")
}

func TestCluster_hostThatWasFreedGoesOn(t *testing.T) {
	t.Parallel()
	l := newLand(t, "a", "b")
	id := l.network("10.1.0.0/28", "")
	a, b := l.worlds["a"], l.worlds["b"]
	if err := b.FreeHost(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	a.lease(any4(id))
	a.wantLease(static(id, "10.1.0.14", ""), "10.1.0.14")
	if err := b.FreeHost(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	b.releasePool(id)
	b.unbindPool(id, "network-on-b")
	l.run("b")
	l.await("the end of the pool", func() bool { return len(l.keys()) == 1 })
	a.wantLease(static(id, "10.1.0.13", ""), "10.1.0.13")
	b.unboundPool("10.1.0.0/24", "") // of this host alone, so in nobody's way
}

// What was given to another host is not given out after a crash, also if the cluster
// cannot be asked then.
func TestCluster_whatWasGivenAwayStaysSo(t *testing.T) {
	t.Parallel()
	l := newLand(t, "a", "b")
	id := l.network("10.1.0.0/24", "")
	a, b := l.worlds["a"], l.worlds["b"]
	first := a.lease(any4(id))
	given := first.Next().Next()
	stop := l.run("a")
	b.wantLease(static(id, given.String(), ""), given.String())
	stop()
	l.kv.setFail("away")
	a.open()
	if err := a.Adopt(t.Context(), []ipam.LiveNetwork{{Network: "network-on-a", Pools: []ipam.PoolID{id}}}); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		got, err := a.RequestAddress(t.Context(), any4(id))
		if err != nil && n > 10 {
			break
		}
		if err != nil || got.Addr() == given {
			t.Fatalf("RequestAddress = %s, %v; %s was given away", got, err, given)
		}
	}
}

func TestCluster_withoutTheClusterAgain(t *testing.T) {
	t.Parallel()
	l := newLand(t, "a")
	id := l.network("10.1.0.0/24", "")
	w := l.worlds["a"]
	used := w.lease(any4(id))
	cluster := w.cluster
	w.cluster = nil
	w.open()
	if err := w.Adopt(t.Context(), []ipam.LiveNetwork{{
		Network: "network-on-a", Pools: []ipam.PoolID{id}, Endpoints: map[string][]netip.Addr{"endpoint": {used}},
	}}); err != nil {
		t.Fatal(err)
	}
	if got := w.lease(any4(id)); got == used {
		t.Errorf("%s twice", got)
	}
	_, _, err := w.RequestPool(t.Context(), shared("10.2.0.0/24", ""))
	wantError(t, err, ipam.ErrAway, "CLUSTER_STORE", "scope=host")
	w.wantRefused(static(id, "10.1.0.250", ""), ipam.ErrAway, "CLUSTER_STORE")
	w.releasePool(id)
	w.unbindPool(id, "network-on-a")
	w.cluster = cluster
	w.open()
	l.run("a")
	l.await("the end of the pool", func() bool { return len(l.keys()) == 1 })
}

// A host that has more in reserve than it takes at once gives the rest back when little
// is left for others, and asks nobody for leave.
func TestCluster_idleReserveIsGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLand(t, "a", "b", "c")
		id := l.network("10.1.0.0/25", "")
		a, b := l.worlds["a"], l.worlds["b"]
		idle := a.lease(any4(id))
		l.run("a")
		a.release(id, idle)
		synctest.Wait()
		l.dead["a"] = true // so that b does not ask for them
		all := func() (had int) {
			for ; ; had++ {
				if _, err := b.RequestAddress(t.Context(), any4(id)); err != nil {
					return had
				}
			}
		}
		all()
		time.Sleep(2 * time.Minute) //nolint:forbidigo // in synctest's time
		synctest.Wait()
		if had := all(); had < 10 {
			t.Errorf("%d more were had", had)
		}
		a.lease(any4(id)) // it keeps some
	})
}
