package store

import (
	"context"
	"strings"
	"sync"
)

// maxChanges is how many changes a [Changes] remembers one by one. A List that
// is further behind is answered at once, which is always allowed to its caller.
const maxChanges = 1024

// Changes is the memory of what changed lately. Implementations without a
// blocking query of their own make [KV.List] wait with it.
//
// It may say "changed" too often, never too seldom: of changes that it has
// forgotten, or that were made before it began, it assumes that they touched
// every prefix.
type Changes struct {
	mu sync.Mutex // guards all below
	// woken is closed and replaced at every change.
	woken chan struct{}
	// floor is the newest index of which the keys are not known any more.
	floor  Index
	recent []change // in ascending order of index
	closed bool
}

type change struct {
	key string
	at  Index
}

// NewChanges returns a memory that begins at index at: all that was written up
// to then counts as a change of every prefix.
func NewChanges(at Index) *Changes {
	return &Changes{woken: make(chan struct{}), floor: at}
}

// Record tells the waiting lists that keys were changed by the write with index
// at. It is called after the write can be read, and with ascending indexes.
func (c *Changes) Record(at Index, keys ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		c.recent = append(c.recent, change{key: key, at: at})
	}
	// Half is dropped at a time, so that a write costs O(1) on average.
	if drop := len(c.recent) - maxChanges; drop > 0 {
		drop += maxChanges / 2
		c.floor = c.recent[min(drop, len(c.recent))-1].at
		c.recent = append([]change(nil), c.recent[min(drop, len(c.recent)):]...)
	}
	if !c.closed {
		close(c.woken)
		c.woken = make(chan struct{})
	}
}

// Wait returns when something under prefix was changed by a write with an index
// larger than after. It fails with the error of ctx, or with ErrClosed.
func (c *Changes) Wait(ctx context.Context, prefix string, after Index) error {
	for {
		changed, closed, woken := c.look(prefix, after)
		if closed {
			return ErrClosed
		}
		if changed {
			return nil
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Changes) look(prefix string, after Index) (changed, closed bool, woken <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false, true, nil
	}
	if after < c.floor {
		return true, false, nil
	}
	for i := len(c.recent) - 1; i >= 0 && c.recent[i].at > after; i-- {
		if strings.HasPrefix(c.recent[i].key, prefix) {
			return true, false, nil
		}
	}
	return false, false, c.woken
}

// Close ends every wait with ErrClosed, now and later.
func (c *Changes) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		close(c.woken)
	}
}
