package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/engine"
)

// world is a cluster of hosts whose engines are maps.
type world struct {
	mu     sync.Mutex // guards all below
	shared map[string]*sharedNetwork
	makers map[string]int // numbers of the hosts that made them
	hosts  []*worldHost
	made   int
}

// worldHost is one host: what its engine has, and its propagator.
type worldHost struct {
	*propagator

	w        *world
	number   int
	have     map[string]engine.Defined
	local    map[driver.NetworkID]*localNetwork
	given    map[driver.NetworkID]bool // up, for others of their names
	away     error                     // what the engine answers, nil for what it should
	cut      error                     // what the cluster answers
	old      bool                      // whether the engine takes a name twice when requests come close
	making   func()                    // called while the engine makes a network, nil for nothing
	asked    int
	stop     context.CancelFunc
	finished chan struct{}
}

var (
	_ networkMaker = (*worldHost)(nil)
	_ sharing      = worldSharing{}
)

func newWorld(t *testing.T, hosts int) *world {
	t.Helper()
	w := &world{shared: make(map[string]*sharedNetwork), makers: make(map[string]int)}
	for i := range hosts {
		h := &worldHost{w: w, number: i + 1, have: make(map[string]engine.Defined), local: make(map[driver.NetworkID]*localNetwork), given: make(map[driver.NetworkID]bool)}
		h.propagator = newPropagator(discard(), h, worldSharing{h})
		h.name, h.active = "ournet", true
		w.hosts = append(w.hosts, h)
		h.begin()
		t.Cleanup(h.end)
	}
	return w
}

// begin starts the host's plugin; end stops it.
func (h *worldHost) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	h.stop, h.finished = cancel, make(chan struct{})
	go func() {
		defer close(h.finished)
		_ = h.run(ctx) // it never fails
	}()
}

func (h *worldHost) end() {
	h.stop()
	<-h.finished
}

// changed is the cluster's news to all hosts.
func (w *world) changed() {
	for _, h := range w.hosts {
		h.tell()
	}
}

// NamesUnique implements [networkMaker].
func (h *worldHost) NamesUnique(context.Context) (bool, error) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return !h.old, h.away
}

func (h *worldHost) Runs(context.Context, string) (bool, error) { return true, nil }

func (h *worldHost) Definitions(context.Context) (map[string]engine.Defined, error) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.asked++
	return maps.Clone(h.have), h.away
}

// CreateNetwork does what an engine and the verbs of its plugin do.
func (h *worldHost) CreateNetwork(_ context.Context, d engine.Definition) (string, error) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	if h.making != nil {
		h.w.mu.Unlock()
		h.making()
		h.w.mu.Lock()
	}
	for _, n := range h.have {
		if n.Name == d.Name && !h.old {
			return "", fmt.Errorf("%w: %s", engine.ErrNameTaken, d.Name)
		}
	}
	h.w.made++
	id := fmt.Sprintf("l%d", h.w.made)
	h.have[id] = engine.Defined{ID: id, Definition: d}
	if d.Driver == "ournet" {
		h.join(id, d)
	}
	return id, nil
}

// join makes the network one of the cluster, or takes part in the one of its subnet,
// which here stands among its options for the address manager.
func (h *worldHost) join(id string, d engine.Definition) {
	key := "c" + d.IPAM.Options["subnet"]
	if _, ok := h.w.shared[key]; !ok {
		h.w.shared[key], h.w.makers[key] = &sharedNetwork{id: key, created: time.Now()}, h.number
	}
	h.local[driver.NetworkID(id)] = &localNetwork{id: driver.NetworkID(id), shared: key}
	h.w.changed()
}

func (h *worldHost) RemoveNetwork(_ context.Context, id string) error {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	l := h.local[driver.NetworkID(id)]
	if l != nil && l.endpoints > 0 {
		return engine.ErrAttached
	}
	delete(h.have, id)
	delete(h.local, driver.NetworkID(id))
	if l != nil {
		h.w.shared[l.shared].removed = !h.given[driver.NetworkID(id)]
		h.w.changed()
	}
	return nil
}

// worldSharing is what a host knows of the world's cluster.
type worldSharing struct{ h *worldHost }

func (s worldSharing) shared() []sharedNetwork {
	s.h.w.mu.Lock()
	defer s.h.w.mu.Unlock()
	var all []sharedNetwork
	for _, id := range slices.Sorted(maps.Keys(s.h.w.shared)) {
		n := *s.h.w.shared[id]
		n.ours = s.h.w.makers[id] == s.h.number
		all = append(all, n)
	}
	return all
}

func (s worldSharing) local() []localNetwork {
	s.h.w.mu.Lock()
	defer s.h.w.mu.Unlock()
	var all []localNetwork
	for _, l := range s.h.local {
		all = append(all, *l)
	}
	return all
}

func (s worldSharing) complete(_ context.Context, id string, _ driver.NetworkID, d engine.Definition) error {
	s.h.w.mu.Lock()
	defer s.h.w.mu.Unlock()
	if s.h.cut != nil {
		return s.h.cut
	}
	s.h.w.shared[id].definition, s.h.w.shared[id].complete = d, true
	s.h.w.changed()
	return nil
}

func (s worldSharing) known(...driver.NetworkID) {}

func (s worldSharing) giveUp(id driver.NetworkID, yes bool) {
	s.h.w.mu.Lock()
	defer s.h.w.mu.Unlock()
	s.h.given[id] = yes
}

// user makes a network as a person does: the engine tells of it afterwards.
func (h *worldHost) user(t *testing.T, name, subnet string, labels ...string) string {
	t.Helper()
	d := engine.Definition{Name: name, Driver: "ournet", IPAM: engine.IPAM{Options: map[string]string{"subnet": subnet}}}
	if subnet == "" {
		d = engine.Definition{Name: name, Driver: "bridge"}
	}
	for _, l := range labels {
		d.Labels = map[string]string{labelComposeProject: l}
	}
	id, err := h.CreateNetwork(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	h.heard(engine.Event{Kind: engine.NetworkCreated, Network: id})
	return id
}

// remove removes a network as a person does.
func (h *worldHost) remove(t *testing.T, id string) {
	t.Helper()
	if err := h.RemoveNetwork(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	h.heard(engine.Event{Kind: engine.NetworkDestroyed, Network: id})
}

// find returns the engine's id of a network.
func (h *worldHost) find(name string) string {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	for id, n := range h.have {
		if n.Name == name {
			return id
		}
	}
	return ""
}

// attach puts containers on a network, or takes them off.
func (h *worldHost) attach(name string, containers int) {
	id := h.find(name)
	h.w.mu.Lock()
	l := h.local[driver.NetworkID(id)]
	l.endpoints += containers
	h.w.shared[l.shared].endpoints += containers
	h.w.mu.Unlock()
	if containers < 0 {
		h.heard(engine.Event{Kind: engine.Disconnected, Network: id})
	}
}

// quiet waits until nobody has anything more to do at this time, give or take a burst.
func quiet() {
	time.Sleep(4 * lookGap) //nolint:forbidigo // in synctest's time
	synctest.Wait()
}

// assert compares what the engines have: names by host, with their subnets.
func (w *world) assert(t *testing.T, when string, want ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, h := range w.hosts {
		var names []string
		for _, n := range h.have {
			names = append(names, strings.TrimSuffix(n.Name+"/"+n.IPAM.Options["subnet"], "/"))
		}
		slices.Sort(names)
		expected := want[min(i, len(want)-1)]
		if got := strings.Join(names, " "); got != expected {
			t.Errorf("%s: host %d has %q, want %q", when, h.number, got, expected)
		}
	}
}
