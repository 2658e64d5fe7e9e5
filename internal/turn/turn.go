// Package turn lets many callers work side by side while those that touch the
// same thing take turns, first come first served. Unlike a mutex, a turn may be
// held while waiting for the kernel or the disk, and waiting for one ends with
// the caller's context.
package turn

import (
	"context"
	"fmt"
	"math"
	"sync"

	"golang.org/x/sync/semaphore"
)

// all is the weight of an exclusive turn; a shared one weighs 1.
const all = math.MaxInt64

// Turns hands out turns by key. The zero value is ready to use.
type Turns struct {
	mu   sync.Mutex // guards keys
	keys map[string]*key
}

type key struct {
	sem   *semaphore.Weighted
	users int // holders and waiters; the key is dropped at 0
}

// Take waits for the only turn at name. The caller calls done when it is over.
func (t *Turns) Take(ctx context.Context, name string) (done func(), err error) {
	return t.acquire(ctx, name, all)
}

// Share waits for a turn at name that others may share, but nobody may Take
// meanwhile. The caller calls done when it is over.
func (t *Turns) Share(ctx context.Context, name string) (done func(), err error) {
	return t.acquire(ctx, name, 1)
}

func (t *Turns) acquire(ctx context.Context, name string, weight int64) (func(), error) {
	k := t.enter(name)
	if err := k.sem.Acquire(ctx, weight); err != nil {
		t.leave(name, k)
		return nil, fmt.Errorf("wait for other work on %s: %w", name, err)
	}
	return func() {
		k.sem.Release(weight)
		t.leave(name, k)
	}, nil
}

func (t *Turns) enter(name string) *key {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, ok := t.keys[name]
	if !ok {
		if t.keys == nil {
			t.keys = make(map[string]*key)
		}
		k = &key{sem: semaphore.NewWeighted(all)}
		t.keys[name] = k
	}
	k.users++
	return k
}

func (t *Turns) leave(name string, k *key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k.users--
	if k.users == 0 {
		delete(t.keys, name)
	}
}
