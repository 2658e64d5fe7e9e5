package ipam_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/ipam"
	"github.com/ournet/ournet/ipam/ledger"
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

// One that comes back while it is freed keeps what was not taken yet, and finds out by
// itself what was.
func TestCluster_hostThatComesBackWhileItIsFreed(t *testing.T) {
	t.Parallel()
	l := newLand(t, "a")
	alive := store.AliveKey("a")
	back := &whenWritten{KV: l.kv.KV, then: store.Set(alive, []byte("{}"))}
	l.kv = &kv{KV: back} // b's way to the store that a has
	l.host("b")
	first, second := l.network("10.1.0.0/28", ""), l.network("10.2.0.0/28", "")
	a, b := l.worlds["a"], l.worlds["b"]
	freed, kept := a.lease(any4(first)), a.lease(static(second, "10.2.0.9", ""))
	a.bind(first, freed, "endpoint-freed")
	a.bind(second, kept, "endpoint-kept")
	l.run("a")
	back.prefix = store.ShardsPrefix("10.1.0.0/28")
	err := b.FreeHost(t.Context(), "a", store.Check(alive, 0))
	wantError(t, err, ledger.ErrNotSo, alive)
	b.wantRefused(static(second, kept.String(), "web"), ipam.ErrInUse, "host a")
	a.Recheck()
	l.await("it to find out", func() bool {
		return slices.ContainsFunc(a.logLines(), func(s string) bool { return strings.Contains(s, "taken out of address pool 10.1.0.0/28") })
	})
	_, err = b.RequestAddress(t.Context(), static(first, freed.String(), "web"))
	wantError(t, err, ipam.ErrInUse, freed.String(), "endpoint-fre")
}

// whenWritten does something more right after the first write of a key with the prefix,
// once that is set.
type whenWritten struct {
	store.KV

	prefix string
	then   store.Op
	once   sync.Once
}

func (w *whenWritten) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	at, err := w.KV.Apply(ctx, ops...)
	for _, op := range ops {
		if err == nil && w.prefix != "" && op.Kind != store.OpCheck && strings.HasPrefix(op.Key, w.prefix) {
			w.once.Do(func() { _, err = w.KV.Apply(ctx, w.then) })
		}
	}
	return at, err
}

// A cluster store that is away is not waited for once with each pool.
func TestCluster_freeingWaitsOnceForTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLand(t, "a", "b")
		for n := range 10 {
			l.network(fmt.Sprintf("10.%d.0.0/24", n+1), "")
		}
		l.kv.KV = leaderless{l.kv.KV}
		begin := time.Now()
		err := l.worlds["b"].FreeHost(t.Context(), "a")
		wantError(t, err, store.ErrUnavailable)
		if took := time.Since(begin); took > 2*leaderlessTime {
			t.Errorf("it took %s", took)
		}
	})
}

// leaderlessTime is how long a store without a leader is asked.
const leaderlessTime = 10 * time.Second

// leaderless is a store that can only be read, as one can that lost its leader just now.
type leaderless struct{ store.KV }

func (leaderless) Apply(ctx context.Context, _ ...store.Op) (store.Index, error) {
	select {
	case <-time.After(leaderlessTime):
		return 0, store.ErrUnavailable
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
