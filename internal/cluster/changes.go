package cluster

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Change tells what of a [View] is not as it was.
type Change struct {
	// Networks are those of which the record, a member or an endpoint changed.
	Networks []NetworkID
	// Hosts are those that came, went, or are seen otherwise.
	Hosts []HostID
}

// touched collects a change.
type touched struct {
	networks map[NetworkID]struct{}
	hosts    map[HostID]struct{}
}

func (t *touched) network(id NetworkID) {
	if t.networks == nil {
		t.networks = make(map[NetworkID]struct{})
	}
	t.networks[id] = struct{}{}
}

func (t *touched) host(id HostID) {
	if t.hosts == nil {
		t.hosts = make(map[HostID]struct{})
	}
	t.hosts[id] = struct{}{}
}

func (t *touched) add(o touched) {
	for id := range o.networks {
		t.network(id)
	}
	for id := range o.hosts {
		t.host(id)
	}
}

func (t *touched) empty() bool { return len(t.networks) == 0 && len(t.hosts) == 0 }

// Changes tells one listener what changed. A slow listener hears of several changes
// as one.
type Changes struct {
	c     *Cluster
	ready chan struct{}

	mu   sync.Mutex // guards what
	what touched
}

// Changes returns a listener's changes: first everything that there is, then what
// changes. The caller closes it.
func (c *Cluster) Changes() *Changes {
	s := &Changes{c: c, ready: make(chan struct{}, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subs[s] = struct{}{}
	v := c.View()
	var all touched
	for id := range v.hosts {
		all.host(id)
	}
	for id := range v.networks {
		all.network(id)
	}
	s.tell(all)
	return s
}

// Wait returns what changed since it last did, as soon as there is something, or the
// error of ctx. The view has it already.
func (s *Changes) Wait(ctx context.Context) (Change, error) {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return Change{}, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	what := s.what
	s.what = touched{}
	return Change{Networks: slices.Sorted(maps.Keys(what.networks)), Hosts: slices.Sorted(maps.Keys(what.hosts))}, nil
}

// Close ends the telling.
func (s *Changes) Close() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	delete(s.c.subs, s)
}

func (s *Changes) tell(what touched) {
	s.mu.Lock()
	s.what.add(what)
	s.mu.Unlock()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}
