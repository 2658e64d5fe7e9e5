package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/boltstore"
	"github.com/ournet/ournet/ipam"
)

// network is the one that all hosts are on.
const network = "bench"

// errCrashed is what a host's stores say when it has crashed.
var errCrashed = errors.New("the host has crashed")

// host is one simulated host: an address manager on a store file of its own, beside
// the cluster's. What its workers have is kept here, as an engine would keep it.
type host struct {
	name   string
	dir    string
	shared store.KV
	log    logrus.FieldLogger
	pool   ipam.PoolID

	mu   sync.RWMutex // held for reading by what uses the process, for writing by what ends it
	proc *process

	held heldAddrs
}

// heldAddrs are the addresses that a host's endpoints have.
type heldAddrs struct {
	mu    sync.Mutex // guards addrs
	addrs map[netip.Addr]string
}

func (h *heldAddrs) set(a netip.Addr, endpoint string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addrs[a] = endpoint
}

func (h *heldAddrs) remove(a netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.addrs, a)
}

func (h *heldAddrs) live(pool ipam.PoolID) []ipam.LiveNetwork {
	h.mu.Lock()
	defer h.mu.Unlock()
	endpoints := make(map[string][]netip.Addr, len(h.addrs))
	for a, endpoint := range h.addrs {
		endpoints[endpoint] = append(endpoints[endpoint], a)
	}
	return []ipam.LiveNetwork{{Network: network, Pools: []ipam.PoolID{pool}, Endpoints: endpoints}}
}

// process is what ends with a crash.
type process struct {
	manager *ipam.Manager
	file    *boltstore.Store
	cut     *cut
	stop    context.CancelFunc
	ended   chan error
}

// cut lets nothing through any more once the process is dead: what it was about to
// write is not written.
type cut struct {
	mu   sync.RWMutex // guards dead
	dead bool
}

// severed is a store as a process sees it that may crash.
type severed struct {
	store.KV

	cut *cut
}

// Apply implements [store.KV].
func (s severed) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	s.cut.mu.RLock()
	dead := s.cut.dead
	s.cut.mu.RUnlock()
	if dead {
		return 0, errCrashed
	}
	return s.KV.Apply(ctx, ops...)
}

func newHost(ctx context.Context, name, dir string, shared store.KV, log logrus.FieldLogger, subnet netip.Prefix) (*host, error) {
	h := &host{name: name, dir: dir, shared: shared, log: log, held: heldAddrs{addrs: make(map[netip.Addr]string)}}
	if err := h.start(ctx); err != nil {
		return nil, err
	}
	id, _, err := h.proc.manager.RequestPool(ctx, ipam.PoolRequest{Space: ipam.SpaceCluster, Subnet: subnet, V6: subnet.Addr().Is6()})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if _, err := h.proc.manager.RequestAddress(ctx, ipam.AddressRequest{Pool: id, Gateway: true}); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	h.pool = id
	return h, h.proc.manager.BindPool(id, network)
}

// start begins a process on what is durable.
func (h *host) start(ctx context.Context) error {
	file, err := boltstore.Open(ctx, filepath.Join(h.dir, h.name+".db"))
	if err != nil {
		return err
	}
	p := &process{file: file, cut: new(cut), ended: make(chan error, 1)}
	p.manager, err = ipam.Open(ctx, severed{file, p.cut}, func() ([]netip.Prefix, error) { return nil, nil }, h.log,
		ipam.Settings{Cluster: &ipam.ClusterStore{KV: severed{h.shared, p.cut}, Host: h.name}})
	if err == nil && h.pool != "" {
		err = p.manager.Adopt(ctx, h.held.live(h.pool))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", h.name, err), file.Close())
	}
	running, stop := context.WithCancel(ctx)
	p.stop = stop
	go func() { p.ended <- p.manager.Run(running) }()
	h.proc = p
	return nil
}

// crash ends the process in the middle of whatever it does, and starts another.
func (h *host) crash(ctx context.Context) error {
	h.mu.RLock()
	p := h.proc
	h.mu.RUnlock()
	p.cut.mu.Lock()
	p.cut.dead = true
	p.cut.mu.Unlock()
	h.mu.Lock() // when those who used it have failed
	defer h.mu.Unlock()
	if err := h.end(); err != nil {
		return err
	}
	return h.start(ctx)
}

// end ends the process; the caller lets nobody use it.
func (h *host) end() error {
	h.proc.stop()
	return errors.Join(<-h.proc.ended, h.proc.file.Close())
}

// use calls do with the host's manager, while it is there.
func (h *host) use(do func(*ipam.Manager) error) error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return do(h.proc.manager)
}

// attach gets an address for an endpoint, as an engine would, and tells how long the
// manager took.
func (h *host) attach(ctx context.Context, c *checker, endpoint string) (a netip.Addr, took time.Duration, err error) {
	err = h.use(func(m *ipam.Manager) error {
		start := time.Now()
		got, err := m.RequestAddress(ctx, ipam.AddressRequest{Pool: h.pool})
		took = time.Since(start)
		if err != nil {
			return err
		}
		a = got.Addr()
		c.take(a, h.name+" "+endpoint)
		if err := m.BindAddress(h.pool, a, endpoint); err != nil {
			return err
		}
		h.held.set(a, endpoint)
		return nil
	})
	return a, took, err
}

// detach gives an address back. If the host crashes meanwhile it is done again.
func (h *host) detach(ctx context.Context, c *checker, a netip.Addr, endpoint string) error {
	h.held.remove(a)
	c.give(a)
	for {
		err := h.use(func(m *ipam.Manager) error {
			m.UnbindAddress(h.pool, a, endpoint)
			return m.ReleaseAddress(ctx, h.pool, a)
		})
		if !errors.Is(err, errCrashed) {
			return err
		}
	}
}
