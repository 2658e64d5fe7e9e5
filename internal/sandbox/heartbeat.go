package sandbox

import (
	"context"
	"maps"
	"slices"
	"time"
)

const (
	// spread is how many moments of an interval the heartbeats are spread over, so
	// that those of a thousand sandboxes do not hold up everything else at once.
	spread = 8
	// lookEvery is after how many heartbeats it is seen whether the namespace is
	// still there. Whoever removes a container tells; this finds what was not told.
	lookEvery = 4
)

// Run renews the rules of all open sandboxes until ctx ends, and closes those whose
// namespace is gone: our sockets would else keep it alive. What someone took away is
// made anew. When it ends, queries go to the engine's resolver after [Options.Timeout].
func (s *Sandboxes) Run(ctx context.Context) error {
	tick := time.NewTicker(s.opts.Interval / spread)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
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
	if b.beats++; b.beats%lookEvery == 0 {
		if id, err := identify(s.fs.Path(key)); err != nil || id != b.ns.id {
			log.Debug("sandbox is gone")
			s.forget(key, b)
			return
		}
	}
	err = s.renew(key, b)
	if err != nil && !b.failing {
		log.WithError(err).Error("names of a container cannot be kept")
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
	for key, b := range s.all() {
		if err := b.table.yield(); err != nil {
			// They run out by themselves.
			s.log.WithError(err).WithField("sandbox", key).Debug("queries are not given back at once")
		}
	}
}

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
