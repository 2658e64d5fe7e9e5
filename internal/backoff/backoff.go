// Package backoff says how long to wait for something that does not answer.
//
// It knows nothing of what is asked.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is a wait that grows: First, then twice as long each time, up to Most. Each
// is cut by up to a half at random, so that many who lost the same thing do not ask
// for it at the same moment.
type Backoff struct {
	First, Most time.Duration
}

// Pause returns the wait after so many failures before the last one: 0 means First.
func (b Backoff) Pause(failures int) time.Duration {
	d := b.Most
	if failures < 16 {
		d = min(b.Most, b.First<<failures)
	}
	return d - rand.N(d/2+1) //nolint:gosec // jitter needs no secrecy
}

// Wait waits for a [Backoff.Pause], or until ctx ends, which it reports as false.
func (b Backoff) Wait(ctx context.Context, failures int) bool {
	timer := time.NewTimer(b.Pause(failures))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
