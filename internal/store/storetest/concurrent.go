package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/internal/store"
)

func testCounter(t *testing.T, kv store.KV) {
	const workers, rounds = 8, 25
	mustApply(t, kv, store.Set("n", []byte("0")))
	g, ctx := errgroup.WithContext(within(t))
	for range workers {
		g.Go(func() error {
			for range rounds {
				if err := increment(ctx, kv, "n"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := string(mustGet(t, kv, "n").Value); got != strconv.Itoa(workers*rounds) {
		t.Errorf("counter = %s, want %d", got, workers*rounds)
	}
}

func increment(ctx context.Context, kv store.KV, key string) error {
	for {
		pair, err := kv.Get(ctx, key)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(pair.Value))
		if err != nil {
			return err
		}
		_, err = kv.Apply(ctx, store.CAS(key, []byte(strconv.Itoa(n+1)), pair.Index))
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

// testOneCreator also shows that a conflict fails alone: every worker has a key
// of its own to write beside the race.
func testOneCreator(t *testing.T, kv store.KV) {
	const workers = 50
	won := make([]bool, workers)
	g, ctx := errgroup.WithContext(within(t))
	for i := range workers {
		g.Go(func() error {
			_, err := kv.Apply(ctx, store.CAS("prize", []byte(strconv.Itoa(i)), 0))
			won[i] = err == nil
			if err != nil && !errors.Is(err, store.ErrConflict) {
				return err
			}
			_, err = kv.Apply(ctx, store.CAS(fmt.Sprintf("own/%d", i), []byte("x"), 0))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	winners := 0
	for i, w := range won {
		if w {
			winners++
			if got := string(mustGet(t, kv, "prize").Value); got != strconv.Itoa(i) {
				t.Errorf("worker %d won but the key says %s", i, got)
			}
		}
	}
	if winners != 1 {
		t.Errorf("%d workers created the key, want 1", winners)
	}
	if got := len(contents(t, kv, "own/")); got != workers {
		t.Errorf("%d own keys, want %d", got, workers)
	}
}

func testWatcher(t *testing.T, kv store.KV) {
	const last = 300
	index := mustApply(t, kv, store.Set("w/n", []byte("0")))
	g, ctx := errgroup.WithContext(within(t))
	g.Go(func() error {
		for i := 1; i <= last; i++ {
			if _, err := kv.Apply(ctx, store.Set("w/n", []byte(strconv.Itoa(i)))); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		seen := 0
		for seen < last {
			pairs, at, err := kv.List(ctx, "w/", index)
			if err != nil {
				return fmt.Errorf("after seeing %d: %w", seen, err)
			}
			n, err := strconv.Atoi(string(pairs[0].Value))
			if err != nil {
				return err
			}
			if n < seen || at < index {
				return fmt.Errorf("went back from %d at %d to %d at %d", seen, index, n, at)
			}
			seen, index = n, at
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}
