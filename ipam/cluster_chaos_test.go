package ipam_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
	"github.com/ournet/ournet/ipam"
)

// storm is a cluster store that fails now and then: without a trace, after it was
// done, or with the write still under way, to be done when nobody thinks of it.
type storm struct {
	store.KV

	mu     sync.Mutex // guards all below
	random *rand.Rand
	// calm lets everything through.
	calm bool
	// late are the writes that are under way.
	late [][]store.Op
}

var errGone = errors.New("the process is gone")

func (s *storm) setCalm(calm bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calm = calm
}

// arrive does the writes that are under way, or some of them.
func (s *storm) arrive(ctx context.Context, all bool) error {
	s.mu.Lock()
	var now [][]store.Op
	s.late = slices.DeleteFunc(s.late, func(ops []store.Op) bool {
		due := all || s.random.IntN(4) == 0
		if due {
			now = append(now, ops)
		}
		return due
	})
	s.mu.Unlock()
	for _, ops := range now {
		if _, err := s.KV.Apply(ctx, ops...); err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return nil
}

// Apply implements [store.KV].
func (s *storm) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	if err := s.arrive(ctx, false); err != nil {
		return 0, err
	}
	s.mu.Lock()
	how := s.random.IntN(20)
	if s.calm {
		how = -1
	}
	if how == 2 {
		s.late = append(s.late, ops)
	}
	s.mu.Unlock()
	switch how {
	case 0:
		return 0, fmt.Errorf("no: %w", store.ErrUnavailable)
	case 1:
		_, err := s.KV.Apply(ctx, ops...)
		return 0, errors.Join(err, store.ErrUncertain)
	case 2:
		return 0, store.ErrUncertain
	}
	return s.KV.Apply(ctx, ops...)
}

// Get implements [store.KV].
func (s *storm) Get(ctx context.Context, key string) (store.Pair, error) {
	s.mu.Lock()
	fail := !s.calm && s.random.IntN(30) == 0
	s.mu.Unlock()
	if fail {
		return store.Pair{}, store.ErrUnavailable
	}
	return s.KV.Get(ctx, key)
}

// mortal is a store as a process has it that can be killed.
type mortal struct {
	store.KV

	mu   sync.Mutex // guards dead
	dead bool
}

func (m *mortal) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
}

// Apply implements [store.KV].
func (m *mortal) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	m.mu.Lock()
	dead := m.dead
	m.mu.Unlock()
	if dead {
		return 0, errGone
	}
	return m.KV.Apply(ctx, ops...)
}

// node is a host of a stormy cluster, with what its containers have.
type node struct {
	*world

	name    string
	weather *storm // of the cluster store, as this host sees it
	local   *mortal
	cluster *mortal
	held    map[netip.Addr]string
	stop    func()
}

// stormy is a model of a cluster: hosts that start and stop containers, crash, come
// back, or are removed, in any order, over stores that fail.
type stormy struct {
	t      *testing.T
	random *rand.Rand
	kv     *memstore.Store
	nodes  []*node
	down   map[string]bool
	mu     sync.Mutex // guards down
	subnet string
	pool   ipam.PoolID
	count  int
}

func newStormy(t *testing.T, seed uint64, subnet string) *stormy {
	t.Helper()
	s := &stormy{
		t: t, random: rand.New(rand.NewPCG(seed, 0)), kv: memstore.New(), down: make(map[string]bool), subnet: subnet,
		pool: ipam.NewPoolID(ipam.SpaceCluster, netip.MustParsePrefix(subnet)),
	}
	for i := range 4 {
		n := &node{name: fmt.Sprintf("n%d", i), held: make(map[netip.Addr]string)}
		n.weather = &storm{KV: s.kv, random: rand.New(rand.NewPCG(seed, uint64(i)+1)), calm: true}
		n.world = newWorldWith(t, func(w *world) {
			n.world = w
			w.kv = &kv{KV: memstore.New()}
			s.process(n)
		})
		s.nodes = append(s.nodes, n)
		if _, _, err := n.RequestPool(t.Context(), shared(subnet, "")); err != nil {
			t.Fatal(err)
		}
		n.lease(gateway(s.pool, ""))
		if err := n.BindPool(s.pool, "network"); err != nil {
			t.Fatal(err)
		}
		s.run(n)
		n.weather.setCalm(false)
	}
	return s
}

// process gives a host's next process its view of the stores.
func (s *stormy) process(n *node) {
	n.local, n.cluster = &mortal{KV: n.kv}, &mortal{KV: n.weather}
	n.store = n.local
	n.world.cluster = &ipam.ClusterStore{KV: n.cluster, Host: n.name, Alive: func(host string) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return !s.down[host]
	}}
}

func (s *stormy) run(n *node) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	m := n.Manager
	go func() { done <- m.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	})
	s.t.Cleanup(n.stop)
}

// crash ends a host's process in the middle of things.
func (s *stormy) crash(n *node) {
	n.local.kill()
	n.cluster.kill()
	n.stop()
	s.setDown(n, true)
}

func (s *stormy) setDown(n *node, down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down[n.name] = down
}

// start begins a host's next process.
func (s *stormy) start(n *node) {
	s.process(n)
	n.open()
	live := ipam.LiveNetwork{Network: "network", Pools: []ipam.PoolID{s.pool}, Endpoints: make(map[string][]netip.Addr)}
	for a, endpoint := range n.held {
		live.Endpoints[endpoint] = []netip.Addr{a}
	}
	if err := n.Adopt(s.t.Context(), []ipam.LiveNetwork{live}); err != nil {
		s.t.Fatal(err)
	}
	s.setDown(n, false)
	s.run(n)
}

// holders returns who has which address.
func (s *stormy) take(n *node, a netip.Addr) {
	for _, o := range s.nodes {
		if endpoint, has := o.held[a]; has {
			s.t.Fatalf("%s was given to %s, while %s has it for %s", a, n.name, o.name, endpoint)
		}
	}
	s.count++
	endpoint := fmt.Sprintf("endpoint-%d", s.count)
	n.bind(s.pool, a, endpoint)
	n.held[a] = endpoint
}

func (s *stormy) request(n *node, req ipam.AddressRequest) bool {
	got, err := n.RequestAddress(s.t.Context(), req)
	switch {
	case err == nil:
		s.take(n, got.Addr())
	case !errors.Is(err, ipam.ErrAway) && !errors.Is(err, ipam.ErrExhausted) && !errors.Is(err, ipam.ErrInUse) && !errors.Is(err, errDisk):
		s.t.Fatalf("%s: %v", n.name, err)
	}
	return err == nil
}

func (s *stormy) release(n *node, a netip.Addr) {
	endpoint := n.held[a]
	delete(n.held, a)
	n.UnbindAddress(s.pool, a, endpoint)
	if err := n.ReleaseAddress(s.t.Context(), s.pool, a); err != nil && !errors.Is(err, errDisk) {
		s.t.Fatal(err)
	}
}

// step is one thing that happens.
func (s *stormy) step() {
	n := s.nodes[s.random.IntN(len(s.nodes))]
	if s.down[n.name] {
		if s.random.IntN(3) == 0 {
			s.start(n)
		}
		return
	}
	held := slices.SortedFunc(func(yield func(netip.Addr) bool) {
		for a := range n.held {
			if !yield(a) {
				return
			}
		}
	}, netip.Addr.Compare)
	switch s.random.IntN(100) {
	case 0, 1, 2:
		s.crash(n)
	case 3:
		s.crash(n)
		s.remove(n)
	case 4, 5, 6:
		n.kv.setFail([]string{"before", "after", ""}[s.random.IntN(3)])
		s.request(n, any4(s.pool))
		n.kv.setFail("")
	case 7, 8, 9, 10, 11, 12:
		a := netip.MustParsePrefix(s.subnet).Addr()
		for range 1 + s.random.IntN(30) {
			a = a.Next()
		}
		if netip.MustParsePrefix(s.subnet).Contains(a.Next()) {
			s.request(n, static(s.pool, a.String(), fmt.Sprintf("static-%d", s.count)))
		}
	case 13, 14:
		n.clock.advance(61 * time.Second)
		if _, err := n.Sweep(s.t.Context(), nil); err != nil {
			s.t.Fatal(err)
		}
	default:
		if len(held) > 0 && s.random.IntN(2) == 0 {
			s.release(n, held[s.random.IntN(len(held))])
			return
		}
		s.request(n, ipam.AddressRequest{Pool: s.pool, Name: []string{"", "web", "db"}[s.random.IntN(3)]})
	}
}

// remove has another host free all that a host has which is gone with its containers.
// When that comes back it sees the store before it gives anything out.
func (s *stormy) remove(n *node) {
	clear(n.held)
	for _, o := range s.nodes {
		for !s.down[o.name] {
			err := o.FreeHost(s.t.Context(), n.name)
			if err == nil {
				n.weather.setCalm(true)
				s.start(n)
				s.request(n, any4(s.pool))
				n.weather.setCalm(false)
				return
			}
			if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUncertain) {
				s.t.Fatal(err)
			}
		}
	}
}

// quiet ends the storm: everything runs, and what was under way has arrived.
func (s *stormy) quiet() {
	for _, n := range s.nodes {
		n.weather.setCalm(true)
		if err := n.weather.arrive(s.t.Context(), true); err != nil {
			s.t.Fatal(err)
		}
		if s.down[n.name] {
			s.start(n)
		}
	}
	for _, n := range s.nodes {
		for a := range n.held {
			s.release(n, a)
		}
		n.clock.advance(61 * time.Second)
		n.sweep()
	}
}

// The time of the test is its own, so that nobody waits for a host that does not answer.
func TestCluster_stormGivesNothingTwiceAndLosesNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				subnet := []string{"10.1.0.0/28", "10.1.0.0/26", "10.1.0.0/24", "fd00:1::/120"}[seed%4]
				s := newStormy(t, seed, subnet)
				for range 1000 {
					s.step()
				}
				s.quiet()
				s.wantAllToBeHad()
			})
		})
	}
}

// wantAllToBeHad looks that every address is with some host, or free to be.
func (s *stormy) wantAllToBeHad() {
	s.t.Helper()
	total := 0
	for range 3 { // one host may have to ask another, which has just asked
		for _, n := range s.nodes {
			for s.request(n, any4(s.pool)) {
				total++
			}
		}
	}
	subnet := netip.MustParsePrefix(s.subnet)
	want := 1<<(subnet.Addr().BitLen()-subnet.Bits()) - 2 // the network's address and the gateway
	if subnet.Addr().Is4() {
		want-- // broadcast
	}
	if total != want {
		s.t.Errorf("%d addresses were had of %d", total, want)
	}
}
