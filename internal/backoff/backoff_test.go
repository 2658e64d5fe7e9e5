package backoff_test

import (
	"context"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/backoff"
)

func TestPause_growsToItsMostAndJitters(t *testing.T) {
	t.Parallel()
	b := backoff.Backoff{First: 100 * time.Millisecond, Most: 10 * time.Second}
	for _, tc := range []struct {
		failures int
		most     time.Duration
	}{{0, 100 * time.Millisecond}, {1, 200 * time.Millisecond}, {6, 6400 * time.Millisecond}, {7, 10 * time.Second}, {1000, 10 * time.Second}} {
		for range 50 {
			if got := b.Pause(tc.failures); got < tc.most/2 || got > tc.most {
				t.Fatalf("Pause(%d) = %s, want %s to %s", tc.failures, got, tc.most/2, tc.most)
			}
		}
	}
}

func TestWait_endsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if (backoff.Backoff{First: time.Hour, Most: time.Hour}).Wait(ctx, 0) {
		t.Error("Wait says that it waited an hour")
	}
	if !(backoff.Backoff{First: 1, Most: 1}).Wait(t.Context(), 0) {
		t.Error("Wait says that the context ended")
	}
}
