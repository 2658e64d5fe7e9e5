package sandbox

import (
	"context"
	"maps"
	"slices"
	"time"
)

// Run renews the rules of all open sandboxes until ctx ends, and closes those whose
// namespace is gone: our sockets would else keep it alive. What someone took away is
// made anew. When it ends, queries go to the engine's resolver after [Options.Timeout].
func (s *Sandboxes) Run(ctx context.Context) error {
	tick := time.NewTicker(s.opts.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.beat(ctx)
		}
	}
}

func (s *Sandboxes) beat(ctx context.Context) {
	s.mu.Lock()
	keys := slices.Sorted(maps.Keys(s.open))
	s.mu.Unlock()
	for _, key := range keys {
		if ctx.Err() != nil {
			return
		}
		s.beatOne(ctx, key)
	}
}

func (s *Sandboxes) beatOne(ctx context.Context, key string) {
	done, err := s.turns.Take(ctx, key)
	if err != nil {
		return // ctx has ended
	}
	defer done()
	b := s.get(key)
	if b == nil {
		return // removed meanwhile
	}
	log := s.log.WithField("sandbox", key)
	if id, err := identify(s.fs.Path(key)); err != nil || id != b.ns.id {
		log.Debug("sandbox is gone")
		s.forget(key, b)
		return
	}
	if err := b.renew(); err != nil {
		log.WithField("err", err).Error("names of a container cannot be kept")
	}
}
