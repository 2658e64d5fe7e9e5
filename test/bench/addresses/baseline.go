package main

import (
	"context"
	"errors"
	"math/bits"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/internal/store"
)

// bitmapKey is the one key of the baseline, which has every address of a /16 as a bit:
// what libnetwork kept in its cluster store.
const (
	bitmapKey  = "baseline"
	bitmapSize = 1 << 16 / 8
)

// bitmap is the baseline: an address is a bit that is set, or cleared, in one value
// by compare-and-swap.
func bitmap(ctx context.Context, hosts, workers int, box time.Duration, shared func(host string) (store.KV, error)) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, box)
	defer cancel()
	times := make([][]time.Duration, hosts*workers)
	start := time.Now()
	var g errgroup.Group
	for i := range hosts {
		kv, err := shared("baseline")
		if err != nil {
			return outcome{}, err
		}
		for j := range workers {
			at := i*workers + j
			g.Go(func() error {
				for {
					began := time.Now()
					bit, err := change(ctx, kv, free)
					if err == nil {
						times[at] = append(times[at], time.Since(began))
						_, err = change(ctx, kv, func([]byte) (int, bool) { return bit, true })
					}
					if ctx.Err() != nil {
						return nil //nolint:nilerr // the time is over
					}
					if err != nil {
						return err
					}
				}
			})
		}
	}
	err := g.Wait()
	o := outcome{took: time.Since(start)}
	for _, t := range times {
		o.n += len(t)
		o.times = append(o.times, t...)
	}
	return o, err
}

// change flips a bit that pick chooses, and goes on until nobody was faster.
func change(ctx context.Context, kv store.KV, pick func([]byte) (int, bool)) (int, error) {
	for {
		pair, err := kv.Get(ctx, bitmapKey)
		if errors.Is(err, store.ErrNotFound) {
			pair, err = store.Pair{Value: make([]byte, bitmapSize)}, nil
		}
		if err != nil {
			return 0, err
		}
		bit, ok := pick(pair.Value)
		if !ok {
			return 0, errors.New("the bitmap is full")
		}
		pair.Value[bit/8] ^= 1 << (bit % 8)
		_, err = kv.Apply(ctx, store.CAS(bitmapKey, pair.Value, pair.Index))
		if !errors.Is(err, store.ErrConflict) {
			return bit, err
		}
	}
}

func free(bitmap []byte) (int, bool) {
	for i, b := range bitmap {
		if b != 0xff {
			return i*8 + bits.TrailingZeros8(^b), true
		}
	}
	return 0, false
}
