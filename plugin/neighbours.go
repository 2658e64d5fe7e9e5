package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/ournet/ournet/internal/store"
)

// isolator keeps our networks apart from the engine's own.
type isolator interface {
	// SetEngineBridges says which devices those have, and reports whether that is news
	// to act upon.
	SetEngineBridges(names []string) (news bool)
}

// engineBridges are the devices of the engine's own bridge networks. The engine is
// asked for them only after the start, so what it said last is on record.
type engineBridges struct {
	kv       store.KV
	isolator isolator

	saved []string // owned by the keeper's goroutine
}

// bridgesVersion is the version of the record. Raise it when an older reader would
// misread what is written.
const bridgesVersion = 1

type bridgesRecord struct {
	Version int
	Names   []string
}

// load isolates from what is on record.
func (b *engineBridges) load(ctx context.Context) error {
	p, err := b.kv.Get(ctx, store.LocalEngineBridgesKey())
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the engine's bridges: %w", err)
	}
	var r bridgesRecord
	if err := json.Unmarshal(p.Value, &r); err != nil {
		return fmt.Errorf("read the engine's bridges: %w", err)
	}
	if r.Version != bridgesVersion {
		return fmt.Errorf("record of the engine's bridges has the unknown version %d", r.Version)
	}
	b.saved = r.Names
	b.isolator.SetEngineBridges(r.Names)
	return nil
}

// set isolates from what the engine says, and puts it on record. Its errors are of the
// record alone, which is written again next time.
func (b *engineBridges) set(ctx context.Context, names []string) (news bool, err error) {
	news = b.isolator.SetEngineBridges(names)
	if slices.Equal(names, b.saved) {
		return news, nil
	}
	value, err := json.Marshal(bridgesRecord{Version: bridgesVersion, Names: names})
	if err == nil {
		_, err = b.kv.Apply(ctx, store.Set(store.LocalEngineBridgesKey(), value))
	}
	if err != nil {
		return news, fmt.Errorf("record the engine's bridges: %w", err)
	}
	b.saved = slices.Clone(names)
	return news, nil
}
