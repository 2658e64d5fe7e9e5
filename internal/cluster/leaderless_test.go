package cluster_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
)

// electing is a store whose servers may be without a leader: who waits is not told,
// since any server answers that, and all else is held in the hope of a leader.
type electing struct {
	*memstore.Store

	leaderless atomic.Bool
}

// hold holds a question for as long as Consul's client asks.
func (s *electing) hold(ctx context.Context) error {
	if !s.leaderless.Load() {
		return nil
	}
	select {
	case <-time.After(10 * time.Second):
		return store.ErrUnavailable
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *electing) Get(ctx context.Context, key string) (store.Pair, error) {
	if err := s.hold(ctx); err != nil {
		return store.Pair{}, err
	}
	return s.Store.Get(ctx, key)
}

func (s *electing) List(ctx context.Context, prefix string, after store.Index) ([]store.Pair, store.Index, error) {
	if after == 0 {
		if err := s.hold(ctx); err != nil {
			return nil, 0, err
		}
	}
	return s.Store.List(ctx, prefix, after)
}

func (s *electing) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	if err := s.hold(ctx); err != nil {
		return 0, err
	}
	return s.Store.Apply(ctx, ops...)
}

// While Consul elects a leader, what a host says is on its disk at once: a container that
// starts waits for it.
func TestAnnounce_doesNotWaitForALeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := &electing{Store: memstore.New()}
		a, b := newHost(t, 1, shared).start(), newHost(t, 2, shared).start()
		defer a.stop()
		defer b.stop()
		n := a.join(spec(1, "10.1.0.0/24"))
		b.join(spec(2, "10.1.0.0/24"))
		quiet(2 * time.Minute)
		shared.leaderless.Store(true)
		quiet(time.Minute) // until all has been looked at that is from time to time
		var want []int
		for number := range 30 {
			begin := time.Now()
			a.announce(endpoint(n.ID, number))
			if took := time.Since(begin); took > time.Second {
				t.Errorf("endpoint %d: it took %s", number, took)
			}
			want = append(want, number)
			quiet(time.Second)
		}
		shared.leaderless.Store(false)
		quiet(30 * time.Second)
		b.wantEndpoints(n.ID, want...)
	})
}

var _ cluster.Store = (*electing)(nil)
