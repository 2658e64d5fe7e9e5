package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/ournet/ournet/internal/store"
)

// changed asks without waiting: the context has ended already.
func changed(t *testing.T, c *store.Changes, prefix string, after store.Index) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := c.Wait(ctx, prefix, after)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatalf("Wait: %v", err)
	}
	return err == nil
}

func TestChanges_answersPerPrefix(t *testing.T) {
	t.Parallel()
	c := store.NewChanges(10)
	c.Record(11, "a/1", "b/1")
	c.Record(12, "b/2")
	for _, tc := range []struct {
		prefix string
		after  store.Index
		want   bool
	}{
		{"a/", 9, true},    // before it began: anything may have changed
		{"none/", 9, true}, // likewise
		{"none/", 10, false},
		{"a/", 10, true},
		{"a/", 11, false},
		{"b/", 11, true},
		{"", 11, true},
		{"b/", 12, false},
		{"", 99, false},
	} {
		if got := changed(t, c, tc.prefix, tc.after); got != tc.want {
			t.Errorf("changed under %q after %d = %v, want %v", tc.prefix, tc.after, got, tc.want)
		}
	}
}

func TestChanges_forgottenCountsAsChanged(t *testing.T) {
	t.Parallel()
	c := store.NewChanges(0)
	var keys []string
	for i := range 5000 { // more than it remembers, in one write
		keys = append(keys, fmt.Sprintf("a/%d", i))
	}
	c.Record(1, keys...)
	for i := store.Index(2); i <= 4000; i++ {
		c.Record(i, "a/x")
	}
	if !changed(t, c, "b/", 1) {
		t.Error("a change that was forgotten is taken for none")
	}
	if changed(t, c, "b/", 3999) {
		t.Error("a change that is remembered is taken for another prefix")
	}
}

func TestChanges_closeEndsEveryWait(t *testing.T) {
	t.Parallel()
	c := store.NewChanges(0)
	done := make(chan error)
	go func() { done <- c.Wait(t.Context(), "a", 0) }()
	c.Close()
	c.Close()
	if err := <-done; !errors.Is(err, store.ErrClosed) {
		t.Errorf("Wait: %v, want ErrClosed", err)
	}
	c.Record(1, "a")
	if err := c.Wait(t.Context(), "a", 0); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Wait after Close: %v, want ErrClosed", err)
	}
}
