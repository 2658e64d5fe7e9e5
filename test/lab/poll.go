package lab

import (
	"context"
	"fmt"
	"time"
)

// pollTimeout bounds a [Poll] whose ctx has no deadline of its own.
const pollTimeout = 2 * time.Minute

// Poll calls cond until it returns nil. It gives up with the last error when ctx
// ends, or after two minutes if ctx has no deadline; what names the thing waited for.
func Poll(ctx context.Context, what string, cond func() error) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, pollTimeout)
		defer cancel()
	}
	begin := time.Now()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		err := cond()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %.1f s for %s: %w (last: %w)", time.Since(begin).Seconds(), what, ctx.Err(), err)
		case <-ticker.C:
		}
	}
}
