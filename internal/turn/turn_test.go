package turn_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ournet/ournet/internal/turn"
)

func TestTake_excludesEveryoneElseAtTheSameKey(t *testing.T) {
	t.Parallel()
	var (
		turns  turn.Turns
		inside atomic.Int32
		wg     sync.WaitGroup
	)
	for range 50 {
		wg.Go(func() {
			done, err := turns.Take(t.Context(), "a")
			if err != nil {
				t.Errorf("Take: %v", err)
				return
			}
			defer done()
			if n := inside.Add(1); n != 1 {
				t.Errorf("%d callers inside an exclusive turn, want 1", n)
			}
			inside.Add(-1)
		})
	}
	wg.Wait()
}

func TestShare_letsSharersInTogether(t *testing.T) {
	t.Parallel()
	var turns turn.Turns
	first, err := turns.Share(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer first()
	second, err := turns.Share(t.Context(), "a")
	if err != nil {
		t.Fatalf("second Share while the first is held: %v", err)
	}
	second()
}

func TestTake_endsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var turns turn.Turns
		done, err := turns.Share(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := turns.Take(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Take = %v, want the context's deadline", err)
		}
		done()
		again, err := turns.Take(t.Context(), "a")
		if err != nil {
			t.Fatalf("Take after the turn was free again: %v", err)
		}
		again()
	})
}
