package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
)

// bereaved is a cluster one of whose hosts, gone, is gone for good.
type bereaved struct {
	shared       *memstore.Store
	wire         *wire // a's way to the store
	a, b, gone   *host
	network      cluster.NetworkID
	free         func() error // what frees the addresses of gone
	freed, tried atomic.Int32
}

// bereave makes the cluster and waits until the host is suspect.
func bereave(t *testing.T) *bereaved {
	t.Helper()
	s := &bereaved{shared: memstore.New(), free: func() error { return nil }}
	s.wire = newWire(s.shared, cluster.DefaultTTL)
	s.a, s.b, s.gone = newHost(t, 1, s.wire), newHost(t, 2, s.shared), newHost(t, 3, s.shared)
	for _, h := range []*host{s.a, s.b} {
		h.opts.FreeHost = func(ctx context.Context, id cluster.HostID, while store.Op) error {
			if id != s.gone.Self().ID {
				t.Errorf("host %s is freed", id)
			}
			if err := s.free(); err != nil {
				return err
			}
			_, err := s.shared.Apply(ctx, while, store.Set("freed", nil))
			if err == nil {
				s.freed.Add(1)
			}
			return err
		}
	}
	for i, h := range []*host{s.a, s.b, s.gone} {
		h.start()
		s.network = h.join(spec(i+1, "10.1.0.0/24")).ID
	}
	s.gone.announce(endpoint(s.network, 33))
	synctest.Wait()
	s.gone.stop()
	revoke(t, s.shared, s.gone.Self().ID)
	quiet(30 * time.Second)
	return s
}

func (s *bereaved) stop() {
	s.a.stop()
	s.b.stop()
	s.wire.end()
}

// wantRemoved wants that nothing is left of the host that is gone.
func (s *bereaved) wantRemoved(t *testing.T) {
	t.Helper()
	for _, h := range []*host{s.a, s.b} {
		h.wantEndpoints(s.network)
		if p, ok := h.View().Host(s.gone.Self().ID); ok {
			t.Errorf("host %d still sees %+v", h.n, p)
		}
	}
	id := string(s.gone.Self().ID)
	for _, key := range []string{
		store.HostKey(id), store.ChangeKey(id), store.SuspectKey(id), store.MemberKey(string(s.network), id),
	} {
		if _, err := s.shared.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s is left: %v", key, err)
		}
	}
	if s.freed.Load() == 0 {
		t.Error("its addresses are not freed")
	}
}

// breakOff has a remove the host while the store goes away before its addresses are free.
func (s *bereaved) breakOff(t *testing.T) {
	t.Helper()
	s.free = func() error {
		s.wire.disconnect()
		return fmt.Errorf("free the addresses: %w", store.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.a.RemoveHost(ctx, s.gone.Self().ID); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("RemoveHost = %v", err)
	}
	s.free = func() error { return nil }
}

// wantKept wants that the others see the host and its endpoint, and that its addresses
// are not free.
func (s *bereaved) wantKept(t *testing.T, suspect bool) {
	t.Helper()
	for _, h := range []*host{s.a, s.b} {
		h.wantEndpoints(s.network, 33)
		if p, ok := h.View().Host(s.gone.Self().ID); !ok || p.Suspect != suspect {
			t.Errorf("host %d sees %+v (%t)", h.n, p, ok)
		}
	}
	if n := s.freed.Load(); n > 0 {
		t.Errorf("its addresses were freed %d times", n)
	}
}

// An address that is free may be another container's at once, so by then nobody may
// see it as that of a container that is gone.
func TestRemoveHost_addressesAreFreeWhenNobodySeesThemInUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bereave(t)
		defer s.stop()
		s.free = func() error {
			quiet(time.Second)
			s.a.wantEndpoints(s.network)
			s.b.wantEndpoints(s.network)
			return nil
		}
		if err := s.a.RemoveHost(t.Context(), s.gone.Self().ID); err != nil {
			t.Fatal(err)
		}
		quiet(time.Second)
		s.wantRemoved(t)
	})
}

// A cluster store that has no leader for some seconds does not make it fail.
func TestRemoveHost_storeIsAwayForSomeSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bereave(t)
		defer s.stop()
		s.free = func() error {
			if s.tried.Add(1) == 1 {
				s.wire.disconnect()
				time.AfterFunc(5*time.Second, s.wire.connect)
				return fmt.Errorf("free the addresses: %w", store.ErrUnavailable)
			}
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := s.a.RemoveHost(ctx, s.gone.Self().ID); err != nil {
			t.Fatal(err)
		}
		quiet(10 * time.Second) // until it listens again
		s.wantRemoved(t)
	})
}

// Whatever answer is lost on the way, the host is removed.
func TestRemoveHost_answerIsLost(t *testing.T) {
	t.Parallel()
	for after := range 4 {
		t.Run(fmt.Sprintf("after %d writes", after), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := bereave(t)
				defer s.stop()
				s.wire.meet(append(make([]fate, after), lost))
				if err := s.a.RemoveHost(t.Context(), s.gone.Self().ID); err != nil {
					t.Error(err)
				}
				s.wire.meet(nil)
				quiet(time.Second)
				s.wantRemoved(t)
			})
		})
	}
}

// Two who remove a host at the same time do not hinder each other.
func TestRemoveHost_byTwoAtTheSameTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bereave(t)
		defer s.stop()
		var g errgroup.Group
		for _, h := range []*host{s.a, s.b} {
			g.Go(func() error {
				err := h.RemoveHost(t.Context(), s.gone.Self().ID)
				if errors.Is(err, cluster.ErrUnknownHost) {
					return nil // the other was faster
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		quiet(time.Second)
		s.wantRemoved(t)
	})
}

// A removal that was begun is ended when the store is back, also by the next process.
func TestRemoveHost_beginsAndIsEndedLater(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("with a restart: %t", restart), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := bereave(t)
				defer s.stop()
				s.breakOff(t)
				quiet(time.Minute)
				if restart {
					s.a.stop()
					s.a.start()
				}
				s.wire.connect()
				quiet(2 * time.Minute)
				s.wantRemoved(t)
			})
		})
	}
}

// A host that comes back while it is removed keeps what is not taken from it yet.
func TestRemoveHost_comesBackMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bereave(t)
		defer s.stop()
		var held atomic.Int32
		s.gone.opts.Held = func() {
			if _, err := s.shared.Get(t.Context(), store.AliveKey(string(s.gone.Self().ID))); err != nil {
				t.Errorf("the host could be removed still: %v", err)
			}
			held.Add(1)
		}
		s.free = func() error {
			s.gone.start()
			quiet(5 * time.Second)
			return nil
		}
		if err := s.a.RemoveHost(t.Context(), s.gone.Self().ID); !errors.Is(err, cluster.ErrHostAlive) {
			t.Errorf("RemoveHost = %v", err)
		}
		defer s.gone.stop()
		quiet(5 * time.Minute)
		s.wantKept(t, false)
		if n := held.Load(); n != 1 {
			t.Errorf("it was told %d times to look", n)
		}
	})
}

// What was begun and broken off is not ended when the host was back in between.
func TestRemoveHost_brokenOffAndTheHostWasBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bereave(t)
		defer s.stop()
		s.breakOff(t)
		s.gone.start()
		quiet(time.Minute)
		s.gone.stop()
		revoke(t, s.shared, s.gone.Self().ID)
		s.wire.connect()
		quiet(5 * time.Minute)
		s.wantKept(t, true)
	})
}

// A host whose key of life is gone for an instant lives: it may be taking another lease.
func TestRemoveHost_onlyWhoIsSuspect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bereave(t)
		defer s.stop()
		s.gone.start()
		quiet(5 * time.Second)
		s.gone.stop()
		revoke(t, s.shared, s.gone.Self().ID)
		if err := s.a.RemoveHost(t.Context(), s.gone.Self().ID); !errors.Is(err, cluster.ErrHostAlive) {
			t.Errorf("RemoveHost = %v", err)
		}
		quiet(5 * time.Second)
		if s.freed.Load() > 0 {
			t.Error("its addresses are free")
		}
		if err := s.a.RemoveHost(t.Context(), s.gone.Self().ID); err != nil {
			t.Error(err)
		}
		quiet(time.Second)
		s.wantRemoved(t)
	})
}
