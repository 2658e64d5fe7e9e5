package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/ournet/ournet/internal/store"
)

// unfinished is how long a network may be made by nobody who takes part in it.
const unfinished = 10 * time.Minute

// noteLasts is how long is kept that a network was removed everywhere. A host that was
// away for longer, and not removed by its people, makes its network again.
const noteLasts = 30 * 24 * time.Hour

// purgeEvery is how often a host looks for notes that are older.
const purgeEvery = 12 * time.Hour

// loosen notes that a removed network may have no member left. Hosts look at
// different times, so that mostly one does what all could.
func (f *feed) loosen(id NetworkID, now time.Time) {
	f.loose[id] = true
	f.plan(choreCollect, now.Add(settle/10+rand.N(settle))) //nolint:gosec // it spreads load
}

// collect removes the records of networks that are removed and have no member left.
func (f *feed) collect(ctx context.Context) error {
	f.c.mu.Lock()
	for id, n := range f.records.networks {
		// One that its maker did not complete is of a command that failed.
		if f.c.state.removed(id) || !n.Complete && time.Since(n.Created) > unfinished {
			f.loose[id] = true
		}
	}
	f.c.mu.Unlock()
	var errs []error
	for id := range f.loose {
		delete(f.loose, id)
		if err := f.collectNetwork(ctx, id); err != nil {
			f.loose[id] = true
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (f *feed) collectNetwork(ctx context.Context, id NetworkID) error {
	f.c.mu.Lock()
	joined, removed := f.c.state.parts[id] != nil, f.c.state.removed(id)
	f.c.mu.Unlock()
	n, there := f.records.networks[id]
	if joined || !there {
		return nil
	}
	members, err := f.c.members(ctx, id)
	if err != nil {
		return err
	}
	if len(members) > 0 {
		if slices.Contains(members, f.c.self) {
			f.loosen(id, time.Now()) // that it is none any more is still to be said
		}
		return nil
	}
	ops, err := f.records.collect(n, removed)
	if err != nil {
		return err
	}
	_, err = f.c.shared.Apply(ctx, ops...)
	if errors.Is(err, store.ErrConflict) {
		return nil // it was made anew, or is gone; a listing tells
	}
	return err
}

// purge removes old notes of networks that were removed everywhere. One of which a host
// still has a part stays: it is what keeps that host from making the network again.
func (f *feed) purge(ctx context.Context) error {
	f.plan(chorePurge, time.Now().Add(purgeEvery+rand.N(purgeEvery))) //nolint:gosec // it spreads load
	pairs, _, err := f.c.shared.List(ctx, store.CollectedPrefix(), 0)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		note, err := decode[collected](p.Value)
		if err != nil {
			f.unreadable(p.Key, err)
			continue
		}
		if time.Since(note.At) < noteLasts {
			continue
		}
		members, err := f.c.members(ctx, NetworkID(strings.TrimPrefix(p.Key, store.CollectedPrefix())))
		if err != nil {
			return err
		}
		if len(members) > 0 {
			continue
		}
		if _, err := f.c.shared.Apply(ctx, store.DeleteCAS(p.Key, p.Index)); err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return nil
}
