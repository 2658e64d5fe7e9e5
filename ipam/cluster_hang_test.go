package ipam_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/ipam"
)

// hanging is a store that does not even fail, as one behind a filter that drops all.
type hanging struct{}

func (hanging) Get(ctx context.Context, _ string) (store.Pair, error) {
	<-ctx.Done()
	return store.Pair{}, ctx.Err()
}

func (hanging) List(ctx context.Context, _ string, _ store.Index) ([]store.Pair, store.Index, error) {
	<-ctx.Done()
	return nil, 0, ctx.Err()
}

func (hanging) Apply(ctx context.Context, _ ...store.Op) (store.Index, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// A verb has 5 s, and a container that starts shall not have to wait at all while there
// is something in reserve, but once after a restart.
func TestCluster_storeThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLand(t, "a")
		id := l.network("10.1.0.0/24", "")
		a := l.worlds["a"]
		a.lease(any4(id))
		l.kv.KV = hanging{}
		took := func(do func()) time.Duration {
			start := time.Now()
			do()
			return time.Since(start)
		}
		if d := took(func() { a.lease(any4(id)) }); d > 0 {
			t.Errorf("an address in reserve took %s", d)
		}
		a.open()
		live := []ipam.LiveNetwork{{Network: "network-on-a", Pools: []ipam.PoolID{id}}}
		if err := a.Adopt(t.Context(), live); err != nil {
			t.Fatal(err)
		}
		l.run("a")
		if d := took(func() { a.lease(any4(id)) }); d > 4*time.Second {
			t.Errorf("the first address after a restart took %s", d)
		}
		for range 3 {
			if d := took(func() { a.lease(any4(id)) }); d > 0 {
				t.Errorf("an address in reserve took %s", d)
			}
		}
		if d := took(func() {
			for {
				if _, err := a.RequestAddress(t.Context(), any4(id)); err != nil {
					wantError(t, err, ipam.ErrAway, "CLUSTER_STORE")
					return
				}
			}
		}); d > 5*time.Second {
			t.Errorf("the error took %s", d)
		}
		if d := took(func() {
			_, _, err := a.RequestPool(t.Context(), shared("10.2.0.0/24", ""))
			wantError(t, err, ipam.ErrAway, "CLUSTER_STORE")
		}); d > 4*time.Second {
			t.Errorf("a new pool took %s", d)
		}
		if d := took(func() {
			a.releasePool(id)
			a.unbindPool(id, "network-on-a")
		}); d > 4*time.Second {
			t.Errorf("to release the pool took %s", d)
		}
	})
}
