package sandbox

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// spread is how many moments of an interval the heartbeats are spread over, so
	// that those of a thousand sandboxes do not hold up everything else at once.
	spread = 8
	// lookGap is the least time between two looks at which namespaces are gone.
	lookGap = 100 * time.Millisecond
)

// Run renews the rules of all open sandboxes until ctx ends, and closes those whose
// namespace is gone: our sockets would else keep it alive. What someone took away is
// made anew. When it ends, queries go to the engine's resolver after [Options.Timeout].
func (s *Sandboxes) Run(ctx context.Context) error {
	changes, err := openMounts(s.mounts)
	if err != nil {
		return fmt.Errorf("keep sandboxes: %w", err)
	}
	defer changes.close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.watch(ctx, changes) })
	g.Go(func() error {
		s.beatAll(ctx)
		return nil
	})
	return g.Wait()
}

// watch closes sandboxes as soon as their namespace is gone, until ctx ends. Whoever
// removes a container tells us before; but an engine that comes back after a crash does
// not, and starts its containers again at once. Until our sockets are closed, the kernel
// keeps the interfaces of those that died, and their addresses answer.
func (s *Sandboxes) watch(ctx context.Context, changes *mounts) error {
	for {
		for _, key := range s.keys() {
			s.with(ctx, key, s.look)
		}
		if err := changes.wait(ctx); ctx.Err() != nil {
			return nil //nolint:nilerr // the end that was asked for
		} else if err != nil {
			return fmt.Errorf("keep sandboxes: %w", err)
		}
		gap := time.NewTimer(lookGap) // mounts come in swarms
		select {
		case <-ctx.Done():
		case <-gap.C:
		}
		gap.Stop()
	}
}

// with does something with a sandbox in turn, unless ctx ends before or it was removed
// meanwhile.
func (s *Sandboxes) with(ctx context.Context, key string, do func(key string, b *Sandbox)) {
	done, err := s.turns.Take(ctx, key)
	if err != nil {
		return
	}
	defer done()
	if b := s.get(key); b != nil {
		do(key, b)
	}
}

// look closes a sandbox if its namespace is gone. The caller has the turn.
func (s *Sandboxes) look(key string, b *Sandbox) {
	if id, err := identify(s.fs.Path(key)); err != nil || id != b.ns.id {
		s.log.WithField("sandbox", key).Debug("sandbox is gone")
		s.forget(key, b)
	}
}

func (s *Sandboxes) beatAll(ctx context.Context) {
	tick := time.NewTicker(s.opts.Interval / spread)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.beat(ctx, s.due(now))
		}
	}
}

// due returns the keys of the sandboxes whose rules were made or renewed an interval
// ago.
func (s *Sandboxes) due(now time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for key, b := range s.open {
		if now.Sub(b.renewed) >= s.opts.Interval {
			keys = append(keys, key)
		}
	}
	return keys
}

func (s *Sandboxes) beat(ctx context.Context, keys []string) {
	for _, key := range keys {
		if ctx.Err() != nil {
			return
		}
		s.with(ctx, key, s.beatOne)
	}
}

// beatOne renews the rules of one sandbox. The caller has the turn.
func (s *Sandboxes) beatOne(key string, b *Sandbox) {
	err := s.renew(key, b)
	if err != nil && !b.failing {
		s.log.WithField("sandbox", key).WithError(err).Error("names of a container cannot be kept")
	}
	b.failing = err != nil
}

// renew keeps the rules working for another while. If they are not there, someone took
// them away.
func (s *Sandboxes) renew(key string, b *Sandbox) error {
	made, err := b.table.renew()
	if err != nil {
		return err
	}
	if made && s.opts.Repaired != nil {
		s.opts.Repaired("resolver rules of sandbox " + key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b.renewed = time.Now()
	return nil
}

// Yield gives all queries back to the engine's resolver, until rules are renewed. Call
// it before [Sandboxes.Close], and before whoever answers ends: nothing is lost then.
func (s *Sandboxes) Yield() {
	ctx, cancel := context.WithTimeout(context.Background(), yieldTime)
	defer cancel()
	for _, key := range s.keys() {
		s.with(ctx, key, func(key string, b *Sandbox) {
			if err := b.table.yield(); err != nil {
				// They run out by themselves.
				s.log.WithError(err).WithField("sandbox", key).Debug("queries are not given back at once")
			}
		})
	}
}

// yieldTime bounds the wait for work on sandboxes that is under way when the process
// ends. Rules that are not given back meanwhile run out by themselves.
const yieldTime = time.Second

// Close closes all sandboxes. The rules stay, without effect, for the next process.
func (s *Sandboxes) Close() {
	for key, b := range s.all() {
		s.forget(key, b)
	}
}

func (s *Sandboxes) all() map[string]*Sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.open)
}

// keys returns the keys of all open sandboxes.
func (s *Sandboxes) keys() []string { return slices.Sorted(maps.Keys(s.all())) }
