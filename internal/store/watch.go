package store

import (
	"context"
	"time"

	"github.com/ournet/ournet/internal/backoff"
)

// The first and the longest pause of a [Watch] that cannot list. The longest is also
// how late a host may hear that the store is back.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 2 * time.Second
)

// Watcher is told what a [Watch] finds. Its methods are called one after the other.
type Watcher interface {
	// See gets everything below the prefix: first what is there, then again after
	// every change, and once in a while without one.
	See(pairs []Pair)
	// Away gets the error when the store cannot be asked any more, once for every
	// time that it is away; See tells when it is back.
	Away(err error)
}

// Watch tells w of everything below prefix until ctx ends, whose error it returns.
// Trouble of the store does not end it: it asks again after a pause that grows, and
// of which a part is random, so that the hosts of a cluster do not come back in
// step. After trouble it begins anew, so a store that lost its past is no other
// case.
func Watch(ctx context.Context, kv KV, prefix string, w Watcher) error {
	var after Index
	for failures := 0; ; {
		pairs, index, err := kv.List(ctx, prefix, after)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			w.See(pairs)
			after, failures = index, 0
			continue
		}
		if failures == 0 {
			w.Away(err)
		}
		after = 0
		failures++
		if !Pause(ctx, failures) {
			return ctx.Err()
		}
	}
}

// Pause waits after so many failures in a row, or until ctx ends, which it reports
// as false.
func Pause(ctx context.Context, failures int) bool {
	return backoff.Backoff{First: firstPause, Most: maxPause}.Wait(ctx, max(failures-1, 0))
}
