package consul

import (
	"context"
	"sync"
	"time"

	"github.com/ournet/ournet/internal/backoff"
	"github.com/ournet/ournet/internal/store"
)

// nowhere is a key that nobody writes: of a key that is not there, Consul tells the
// index of its last write of any key (agent/consul/kvs_endpoint.go, Get).
const nowhere = "v1/nowhere"

// The first and the longest pause between two looks at how far the leader is.
const (
	firstLook = time.Millisecond
	maxLook   = 50 * time.Millisecond
)

// horizon is how far a wait has seen that no read has reached yet.
//
// Each server applies what is committed in its own time, and before a consistent read
// the leader only asks whether it still leads (agent/consul/rpc.go,
// consistentReadWithContext). So a follower that has just told of a write may be ahead
// of the leader for an instant, and whoever then read what the write was about would
// take the old for the new, and never look again.
type horizon struct {
	mu   sync.Mutex // guards seen
	seen store.Index
}

// see notes the index of what a wait has told.
func (h *horizon) see(index store.Index) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = max(h.seen, index)
}

// get returns the index that a read has to reach, 0 if any will do.
func (h *horizon) get() store.Index {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen
}

// reach notes the index of what the leader has told.
func (h *horizon) reach(index store.Index) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if index >= h.seen {
		h.seen = 0
	}
}

// read asks the leader by f, which returns the index of the answer, and asks again if
// the answer may be older than what a wait has told before.
func (s *Store) read(ctx context.Context, f func(ctx context.Context) (store.Index, error)) error {
	want := s.horizon.get()
	index, err := f(ctx)
	if err != nil || want == 0 {
		return err
	}
	if index >= want {
		s.horizon.reach(index)
		return nil
	}
	// The index is that of what was asked for, which may not have changed for long.
	if err := s.catchUp(ctx, want); err != nil {
		return err
	}
	_, err = f(ctx)
	return err
}

// catchUp waits until the leader has applied what has the index want. A leader is behind
// for milliseconds; one that stays behind is of a Consul that has lost its past.
func (s *Store) catchUp(ctx context.Context, want store.Index) error {
	bounded, cancel := context.WithTimeout(ctx, s.cfg.Attempt)
	defer cancel()
	between := backoff.Backoff{First: firstLook, Most: maxLook}
	for looks := 0; ; looks++ {
		_, index, err := s.get(ctx, s.prefix+nowhere)
		if err != nil {
			return err
		}
		if index >= want {
			s.horizon.reach(index)
			return nil
		}
		if !between.Wait(bounded, looks) {
			s.horizon.reach(want)
			return ctx.Err()
		}
	}
}
