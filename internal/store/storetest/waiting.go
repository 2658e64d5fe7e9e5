package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/store"
)

// moment is how long a list is watched before it counts as waiting. A slow
// machine makes the test weaker, never wrong.
const moment = 20 * time.Millisecond

type answer struct {
	pairs []store.Pair
	index store.Index
	err   error
}

func listLater(ctx context.Context, kv store.KV, prefix string, after store.Index) <-chan answer {
	ch := make(chan answer, 1)
	go func() {
		pairs, index, err := kv.List(ctx, prefix, after)
		ch <- answer{pairs, index, err}
	}()
	return ch
}

func wantWaiting(t *testing.T, ch <-chan answer) {
	t.Helper()
	select {
	case a := <-ch:
		t.Fatalf("List did not wait: %+v", a)
	case <-time.After(moment):
	}
}

func testListWaits(t *testing.T, kv store.KV) {
	at := mustApply(t, kv, store.Set("a/1", []byte("1")))
	ch := listLater(within(t), kv, "a/", at)
	wantWaiting(t, ch)
	written := mustApply(t, kv, store.Set("a/2", []byte("2")))
	a := <-ch
	if a.err != nil || a.index < written || len(a.pairs) != 2 {
		t.Errorf("List after a write at %d: %+v", written, a)
	}
}

func testListWaitsEmpty(t *testing.T, kv store.KV) {
	pairs, index, err := kv.List(within(t), "a/", 0)
	if err != nil || len(pairs) != 0 || index == 0 {
		t.Fatalf("List of an empty store: %v at %d, %v; want an index to wait after", pairs, index, err)
	}
	ch := listLater(within(t), kv, "a/", index)
	mustApply(t, kv, store.Set("b/1", nil))
	wantWaiting(t, ch)
	written := mustApply(t, kv, store.Set("a/1", []byte("1")))
	if a := <-ch; a.err != nil || a.index < written || len(a.pairs) != 1 || written <= index {
		t.Errorf("List after the first write at %d: %+v", written, a)
	}
}

func testListWakesForDeletion(t *testing.T, kv store.KV) {
	at := mustApply(t, kv, store.Set("a/1", []byte("1")))
	ch := listLater(within(t), kv, "a/", at)
	wantWaiting(t, ch)
	mustApply(t, kv, store.Delete("a/1"))
	a := <-ch
	if a.err != nil || a.index <= at || len(a.pairs) != 0 {
		t.Errorf("List after a deletion: %+v", a)
	}
	// Nor is a deletion missed that came before the wait.
	a = <-listLater(within(t), kv, "a/", at)
	if a.err != nil || a.index <= at {
		t.Errorf("List behind a deletion: %+v", a)
	}
}

func testListIgnoresOthers(t *testing.T, kv store.KV) {
	at := mustApply(t, kv, store.Set("a/1", []byte("1")))
	ch := listLater(within(t), kv, "a/", at)
	mustApply(t, kv, store.Set("b/1", []byte("1")))
	mustApply(t, kv, store.Delete("b/1"))
	if _, err := kv.Apply(within(t), store.CAS("a/1", nil, 0)); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("Apply: %v, want ErrConflict", err)
	}
	wantWaiting(t, ch)
	mustApply(t, kv, store.Set("a/1", []byte("2")))
	if a := <-ch; a.err != nil {
		t.Errorf("List: %v", a.err)
	}
}

func testListContext(t *testing.T, kv store.KV) {
	at := mustApply(t, kv, store.Set("a/1", []byte("1")))
	ctx, cancel := context.WithCancel(t.Context())
	ch := listLater(ctx, kv, "a/", at)
	wantWaiting(t, ch)
	cancel()
	if a := <-ch; !errors.Is(a.err, context.Canceled) {
		t.Errorf("List after its context ended: %+v", a)
	}
}

func testListBehind(t *testing.T, kv store.KV) {
	at := mustApply(t, kv, store.Set("a/1", []byte("1")))
	mustApply(t, kv, store.Set("a/2", []byte("2")))
	a := <-listLater(within(t), kv, "a/", at)
	if a.err != nil || len(a.pairs) != 2 {
		t.Errorf("List behind: %+v", a)
	}
	// Behind by more changes than any memory of them holds one by one.
	for range 60 {
		ops := make([]store.Op, 0, 25)
		for i := range cap(ops) {
			ops = append(ops, store.Set(fmt.Sprintf("b/%d", i), nil))
		}
		mustApply(t, kv, ops...)
	}
	a = <-listLater(within(t), kv, "a/", at)
	if a.err != nil || len(a.pairs) != 2 {
		t.Errorf("List far behind: %+v", a)
	}
}
