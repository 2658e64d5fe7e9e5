// Package journal says to the cluster store what this host has to say, now if it is
// there and later if it is away. What it was told is on this host's disk before it
// is acknowledged; a goroutine of its own says it.
//
// Only the last of a key is said, so the journal grows with keys and not with time.
// What was told in one call is said in one transaction, and nothing overtakes what
// was told before it: whoever sees a later value sees all earlier ones or what
// replaced them.
//
// The keys have to be this host's alone, and nobody else may write them. Then
// saying something twice does no harm, and a crash between saying and forgetting
// none either. What would do harm is a transaction whose answer was lost and which
// is done late, after a newer one. So every transaction also raises the fence, a key
// of this host, from what it was: of those that build upon the same, one is done.
package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/store"
)

// The bounds of one [Journal.Say]: what every store takes at once, less the fence.
const (
	maxOps   = 31
	maxBytes = 240 << 10
)

// maxEntries bounds the journal: keys of one host, so more of them are a mistake.
const maxEntries = 100_000

// version is that of an entry's form.
const version = 1

// ErrFull says that the journal has no room for another key.
var ErrFull = errors.New("journal is full")

// Journal keeps what is to be said to a cluster store in a store of this host.
// Its methods may be called from many goroutines, but only one may run it.
type Journal struct {
	log   logrus.FieldLogger
	local store.KV
	// cluster may be away.
	cluster store.KV
	fence   string
	// atOnce is maxOps and most is maxEntries, but for tests.
	atOnce, most int
}

// New returns the journal that is in local, whose fence in the cluster store is the
// key of that name. It asks neither.
func New(log logrus.FieldLogger, local, cluster store.KV, fence string) *Journal {
	return &Journal{log: log, local: local, cluster: cluster, fence: fence, atOnce: maxOps, most: maxEntries}
}

// entry is the value of one key to be said.
type entry struct {
	Version int    `json:"version"`
	Delete  bool   `json:"delete,omitempty"`
	Value   []byte `json:"value,omitempty"`
}

// Say notes that keys have new values, by [store.Set], or none, by [store.Delete].
// When it returns they will be said, all together, whatever happens.
func (j *Journal) Say(ctx context.Context, ops ...store.Op) error {
	return j.SayAlong(ctx, nil, ops...)
}

// SayAlong is [Journal.Say], and does along in this host's own store in the same
// transaction: records of what was said that are never of another opinion.
func (j *Journal) SayAlong(ctx context.Context, along []store.Op, ops ...store.Op) error {
	if len(ops) == 0 {
		return nil
	}
	notes, err := j.notes(ops)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := j.room(ctx, notes); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if _, err := j.local.Apply(ctx, append(notes, along...)...); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// notes turns what is to be said into entries.
func (j *Journal) notes(ops []store.Op) ([]store.Op, error) {
	if err := store.CheckOps(ops); err != nil {
		return nil, err
	}
	if len(ops) > maxOps {
		return nil, fmt.Errorf("%w: %d keys at once, at most %d", store.ErrTooLarge, len(ops), maxOps)
	}
	notes := make([]store.Op, 0, len(ops))
	size := 0
	for _, op := range ops {
		if op.Kind != store.OpSet && op.Kind != store.OpDelete || op.Lease != "" {
			return nil, fmt.Errorf("key %q: only plain sets and deletions can be said later", op.Key)
		}
		if op.Key == j.fence {
			return nil, fmt.Errorf("key %q is the fence", op.Key)
		}
		size += len(op.Key) + len(op.Value)
		raw, err := json.Marshal(entry{Version: version, Delete: op.Kind == store.OpDelete, Value: op.Value})
		if err != nil {
			return nil, err
		}
		notes = append(notes, store.Set(store.LocalJournalKey(op.Key), raw))
	}
	if size > maxBytes {
		return nil, fmt.Errorf("%w: %d bytes at once, at most %d", store.ErrTooLarge, size, maxBytes)
	}
	return notes, nil
}

// room refuses new keys when the journal is full; newer values of old ones fit.
func (j *Journal) room(ctx context.Context, notes []store.Op) error {
	pairs, _, err := j.local.List(ctx, store.LocalJournalPrefix(), 0)
	if err != nil || len(pairs)+len(notes) <= j.most {
		return err
	}
	have := make(map[string]bool, len(pairs))
	for _, p := range pairs {
		have[p.Key] = true
	}
	for _, n := range notes {
		if !have[n.Key] {
			return fmt.Errorf("%w: %d keys could not be said yet", ErrFull, len(pairs))
		}
	}
	return nil
}

// Pending returns how many keys are still to be said.
func (j *Journal) Pending(ctx context.Context) (int, error) {
	pairs, _, err := j.local.List(ctx, store.LocalJournalPrefix(), 0)
	if err != nil {
		return 0, fmt.Errorf("journal: %w", err)
	}
	return len(pairs), nil
}

// clusterKey returns the key that an entry is about.
func clusterKey(local string) string { return strings.TrimPrefix(local, store.LocalJournalPrefix()) }
