package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/ournet/ournet/internal/store"
)

// Run says what is to be said until ctx ends. It goes on through every trouble of
// the cluster store, and ends early only with trouble of this host's own store.
func (j *Journal) Run(ctx context.Context) error {
	var after store.Index
	for failures := 0; ; {
		pairs, index, err := j.local.List(ctx, store.LocalJournalPrefix(), after)
		if err != nil {
			return j.stopped(ctx, err)
		}
		if err = j.say(ctx, pairs); err == nil {
			if failures > 0 {
				j.log.WithField("tries", failures).Info("the cluster store was told what it missed")
			}
			after, failures = index, 0
			continue
		}
		if errors.Is(err, errLocal) || ctx.Err() != nil {
			return j.stopped(ctx, err)
		}
		if failures++; failures == 1 {
			j.log.WithField("err", err).Warn("the cluster store cannot be told, and will be later")
		}
		after = 0
		if !store.Pause(ctx, failures) {
			return ctx.Err()
		}
	}
}

// stopped tells the end of ctx from trouble.
func (j *Journal) stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("journal: %w", err)
}

// Replay says once all that is to be said now.
func (j *Journal) Replay(ctx context.Context) error {
	pairs, _, err := j.local.List(ctx, store.LocalJournalPrefix(), 0)
	if err == nil {
		err = j.say(ctx, pairs)
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// errLocal marks trouble of this host's own store.
var errLocal = errors.New("this host's store")

// say says entries in the order in which they were told.
func (j *Journal) say(ctx context.Context, pairs []store.Pair) error {
	for _, batch := range batches(pairs, j.atOnce) {
		ops := make([]store.Op, 0, len(batch)+1)
		forget := make([]store.Op, 0, len(batch))
		for _, p := range batch {
			op, ok := j.decode(p)
			if !ok {
				continue
			}
			ops = append(ops, op)
			// A newer value that is told meanwhile stays.
			forget = append(forget, store.DeleteCAS(p.Key, p.Index))
		}
		if len(ops) == 0 {
			continue
		}
		if err := j.write(ctx, ops); err != nil {
			return fmt.Errorf("say %q and %d more: %w", ops[0].Key, len(ops)-1, err)
		}
		if err := j.forget(ctx, forget); err != nil {
			return fmt.Errorf("%w: forget what was said: %w", errLocal, err)
		}
	}
	return nil
}

// batches cuts entries into what is said at once. What was told in one call has one
// index in this host's store and is not cut; calls are put together as they fit.
func batches(pairs []store.Pair, atOnce int) [][]store.Pair {
	pairs = slices.Clone(pairs)
	slices.SortStableFunc(pairs, func(a, b store.Pair) int {
		switch {
		case a.Index < b.Index:
			return -1
		case a.Index > b.Index:
			return 1
		}
		return 0
	})
	var (
		all  [][]store.Pair
		ops  int
		size int
	)
	for len(pairs) > 0 {
		n, bytes := 0, 0
		for n < len(pairs) && pairs[n].Index == pairs[0].Index {
			// In an entry the value is in base64, so this is more than it comes to.
			bytes += len(pairs[n].Key) + len(pairs[n].Value)
			n++
		}
		if len(all) == 0 || ops+n > atOnce || size+bytes > maxBytes {
			all, ops, size = append(all, nil), 0, 0
		}
		last := len(all) - 1
		all[last], ops, size = append(all[last], pairs[:n]...), ops+n, size+bytes
		pairs = pairs[n:]
	}
	return all
}

// decode returns what an entry says, unless a newer ournet wrote it.
func (j *Journal) decode(p store.Pair) (store.Op, bool) {
	key := clusterKey(p.Key)
	var e entry
	if err := json.Unmarshal(p.Value, &e); err != nil || e.Version != version {
		j.log.WithField("key", key).Warn("an entry of the journal is of another version and is not said")
		return store.Op{}, false
	}
	if e.Delete {
		return store.Delete(key), true
	}
	return store.Set(key, e.Value), true
}

// write says ops to the cluster store, behind the fence.
func (j *Journal) write(ctx context.Context, ops []store.Op) error {
	for {
		fence, err := j.cluster.Get(ctx, j.fence)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		n, err := strconv.ParseUint(string(fence.Value), 10, 64)
		if err != nil {
			n = 0 // it is the key's index that counts; the number is for people
		}
		raised := store.CAS(j.fence, strconv.AppendUint(nil, n+1, 10), fence.Index)
		// One that was lost came through after all: what it said is said again.
		if _, err = j.cluster.Apply(ctx, append([]store.Op{raised}, ops...)...); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

// forget removes entries that were said, but for those that were replaced meanwhile.
func (j *Journal) forget(ctx context.Context, ops []store.Op) error {
	_, err := j.local.Apply(ctx, ops...)
	if !errors.Is(err, store.ErrConflict) || len(ops) == 1 {
		return ignoreConflict(err)
	}
	for _, op := range ops {
		if _, err = j.local.Apply(ctx, op); ignoreConflict(err) != nil {
			return err
		}
	}
	return nil
}

func ignoreConflict(err error) error {
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}
