package ipam_test

import (
	"fmt"
	"testing"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
	"github.com/ournet/ournet/ipam"
)

// A cluster store that lost its past is told again by the hosts that live. What a host
// has that is away meanwhile is nobody else's.
func TestCluster_storeThatLostItsPast(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		// before is how many containers each host has when the store is saved.
		before int
		lose   func(l *land, saved []store.Pair)
	}{
		{"all of it", 0, func(l *land, _ []store.Pair) { l.wipe() }},
		{"the last of it", 1, (*land).restore},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := newLand(t, "a", "b")
			id := l.network("10.1.0.0/28", "")
			l.populate(id, tc.before)
			saved, _, err := l.kv.List(t.Context(), "v1/", 0)
			if err != nil {
				t.Fatal(err)
			}
			l.populate(id, 4)
			tc.lose(l, saved)
			stop := l.run("a")
			// It may take another in reserve, which leaves one for b.
			got := l.worlds["a"].lease(any4(id))
			if other, twice := l.seen[got]; twice {
				t.Errorf("a has %s, which %s has", got, other)
			}
			stop()
			l.run("b")
			l.worlds["b"].lease(any4(id))
		})
	}
}

// A host that never comes back is freed like any other.
func TestCluster_storeThatLostAHostForGood(t *testing.T) {
	t.Parallel()
	l := newLand(t, "a", "b")
	id := l.network("10.1.0.0/29", "")
	l.populate(id, 2)
	l.wipe()
	l.dead["b"] = true
	a := l.worlds["a"]
	l.run("a")
	l.await("the pool", func() bool { return len(l.keys()) > 1 })
	a.lease(any4(id)) // 6 less the gateway and four
	_, err := a.RequestAddress(t.Context(), any4(id))
	wantError(t, err, ipam.ErrExhausted, "network-on-a", "--subnet")
	if err := a.FreeHost(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	a.lease(any4(id))
	a.lease(any4(id))
	a.wantRefused(any4(id), ipam.ErrExhausted)
}

// populate starts containers on each host.
func (l *land) populate(id ipam.PoolID, n int) {
	l.t.Helper()
	for range n {
		for _, host := range l.hosts() {
			a := l.worlds[host].lease(any4(id))
			l.worlds[host].bind(id, a, fmt.Sprintf("endpoint-%d", len(l.seen)))
			l.seen[a] = host
		}
	}
}

// wipe takes everything out of the store.
func (l *land) wipe() {
	l.t.Helper()
	m, ok := l.kv.KV.(*memstore.Store)
	if !ok {
		l.t.Fatal("not a store that can be wiped")
	}
	m.Wipe()
}

// restore sets the store back to what it was.
func (l *land) restore(saved []store.Pair) {
	l.t.Helper()
	l.wipe()
	for _, p := range saved {
		if _, err := l.kv.KV.Apply(l.t.Context(), store.Set(p.Key, p.Value)); err != nil {
			l.t.Fatal(err)
		}
	}
}
