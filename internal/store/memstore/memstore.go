// Package memstore is a [store.KV] in memory, for tests and for state that need
// not last. It forgets everything when it is dropped.
package memstore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/ournet/ournet/internal/store"
)

// Store is a [store.KV] in memory.
type Store struct {
	changes *store.Changes
	leases  *store.Leases

	mu    sync.Mutex // guards all below
	pairs map[string]store.Pair
	index store.Index
}

var (
	_ store.KV     = (*Store)(nil)
	_ store.Leaser = (*Store)(nil)
)

// New returns an empty store.
func New() *Store {
	return &Store{changes: store.NewChanges(1), leases: store.NewLeases(), pairs: make(map[string]store.Pair), index: 1}
}

// Get implements [store.KV].
func (s *Store) Get(ctx context.Context, key string) (store.Pair, error) {
	if err := ctx.Err(); err != nil {
		return store.Pair{}, fmt.Errorf("get %q: %w", key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	pair, ok := s.pairs[key]
	if !ok {
		return store.Pair{}, fmt.Errorf("get %q: %w", key, store.ErrNotFound)
	}
	return clone(pair), nil
}

// List implements [store.KV].
func (s *Store) List(ctx context.Context, prefix string, after store.Index) ([]store.Pair, store.Index, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, fmt.Errorf("list %q: %w", prefix, err)
	}
	if after > 0 {
		if err := s.changes.Wait(ctx, prefix, after); err != nil {
			return nil, 0, fmt.Errorf("list %q: wait for a change after %d: %w", prefix, after, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var pairs []store.Pair
	for key, pair := range s.pairs {
		if strings.HasPrefix(key, prefix) {
			pairs = append(pairs, clone(pair))
		}
	}
	slices.SortFunc(pairs, func(a, b store.Pair) int { return strings.Compare(a.Key, b.Key) })
	return pairs, s.index, nil
}

// Apply implements [store.KV].
func (s *Store) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("apply: %w", err)
	}
	if err := store.CheckOps(ops); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var changed []string
	for _, op := range ops {
		at := s.pairs[op.Key].Index
		if !op.Holds(at) {
			return 0, fmt.Errorf("apply: key %q is at index %d, not %d: %w", op.Key, at, op.Index, store.ErrConflict)
		}
		if err := s.mayHold(op); err != nil {
			return 0, fmt.Errorf("apply: key %q: %w", op.Key, err)
		}
		if op.Writes(at) {
			changed = append(changed, op.Key)
		}
	}
	if len(changed) == 0 {
		return s.index, nil
	}
	s.index++
	for _, op := range ops {
		s.write(op)
	}
	s.changes.Record(s.index, changed...)
	return s.index, nil
}

func (s *Store) write(op store.Op) {
	switch op.Kind {
	case store.OpSet, store.OpCAS:
		lease := s.pairs[op.Key].Lease
		if op.Lease != "" {
			lease = op.Lease
		}
		s.pairs[op.Key] = clone(store.Pair{Key: op.Key, Value: op.Value, Index: s.index, Lease: lease})
	case store.OpDelete, store.OpDeleteCAS:
		delete(s.pairs, op.Key)
	case store.OpCheck:
	}
}

func (s *Store) mayHold(op store.Op) error {
	if op.Lease == "" {
		return nil
	}
	if _, live := s.leases.OnLoss(op.Lease); !live {
		return store.ErrLeaseLost
	}
	if holder := s.pairs[op.Key].Lease; holder != "" && holder != op.Lease {
		return fmt.Errorf("another lease holds it: %w", store.ErrConflict)
	}
	return nil
}

// Lease implements [store.Leaser]. The lease needs no sign of life: it ends when
// it is ended or revoked.
func (s *Store) Lease(ctx context.Context, opts store.LeaseOptions) (store.Lease, error) {
	return s.leases.Take(ctx, opts, s.Revoke)
}

// Revoke implements [store.Leaser].
func (s *Store) Revoke(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("end lease %s: %w", id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	onLoss, live := s.leases.OnLoss(id)
	if !live {
		return nil
	}
	var changed []string
	for key, pair := range s.pairs {
		if pair.Lease == id {
			changed = append(changed, key)
		}
	}
	if len(changed) > 0 {
		s.index++
		for _, key := range changed {
			pair := s.pairs[key]
			pair.Lease, pair.Index = "", s.index
			s.pairs[key] = pair
			if onLoss == store.Remove {
				delete(s.pairs, key)
			}
		}
		s.changes.Record(s.index, changed...)
	}
	s.leases.Drop(id)
	return nil
}

// Wipe removes all pairs at once, as a store does that lost its disk. Leases stay.
func (s *Store) Wipe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index++
	s.changes.Record(s.index, slices.Collect(maps.Keys(s.pairs))...)
	clear(s.pairs)
}

func clone(p store.Pair) store.Pair {
	p.Value = bytes.Clone(p.Value)
	return p
}
