package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/ipam/ledger"
)

// storeTime bounds what is asked of the cluster store at a time. A verb has 5 s, and
// may have to wait for what goes on in the background.
const storeTime = 2 * time.Second

// ClusterStore is what a host shares its cluster's pools with others through.
type ClusterStore struct {
	// KV is the cluster store. It may be away.
	KV store.KV
	// Host is this host's name in it, for good.
	Host string
	// Alive reports whether a host is there, as far as is known; nil means that
	// all are.
	Alive func(host string) bool
	// InUse returns the addresses of a subnet that containers of other hosts have, by
	// host, as far as is known; nil means that nothing is.
	InUse func(subnet netip.Prefix) map[string][]netip.Addr
}

// cluster is what a manager has of its cluster.
type cluster struct {
	*ledger.Ledger

	alive func(host string) bool
	inUse func(subnet netip.Prefix) map[string][]netip.Addr
	// wake tells Run that there is something to do.
	wake chan struct{}
	// check tells Run to compare all reserves with the ledger.
	check chan struct{}
}

func newCluster(s ClusterStore, now func() time.Time) *cluster {
	if s.Alive == nil {
		s.Alive = func(string) bool { return true }
	}
	if s.InUse == nil {
		s.InUse = func(netip.Prefix) map[string][]netip.Addr { return nil }
	}
	return &cluster{
		Ledger: ledger.New(s.KV, s.Host, now), alive: s.Alive, inUse: s.InUse,
		wake: make(chan struct{}, 1), check: make(chan struct{}, 1),
	}
}

// AddressSpaces returns the address space that a network is to be asked for in, if
// its user says nothing else.
func (m *Manager) AddressSpaces() string {
	if m.cluster == nil {
		return SpaceHost
	}
	return SpaceCluster
}

// turnOf waits for the turn to change what the ledger has of a pool, or this host of
// its reserve. Nothing has to be waited for in a pool of this host alone.
func (m *Manager) turnOf(ctx context.Context, p *pool) (done func(), err error) {
	if !p.isShared() {
		return func() {}, nil
	}
	return m.turns.Take(ctx, p.Subnet.String())
}

// ask does something with the ledger, for a limited time. What the cluster refuses is
// told as it is, and what it could not do or say is [ErrAway].
func (m *Manager) ask(ctx context.Context, what string, do func(context.Context, *ledger.Ledger) error) error {
	if m.cluster == nil {
		return fmt.Errorf("%s needs the cluster: %w, because CLUSTER_STORE is not set; set it again", what, ErrAway)
	}
	bounded, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	err := do(bounded, m.cluster.Ledger)
	if err == nil || ledger.IsRefusal(err) || ctx.Err() != nil {
		return err
	}
	if errors.Is(err, store.ErrSetup) {
		return awayError{fmt.Errorf("%s needs the cluster: %w", what, err)}
	}
	return fmt.Errorf("%s needs the cluster: %w; see that Consul answers at what CLUSTER_STORE says: %w", what, ErrAway, err)
}

// awayError is [ErrAway] in the words of whoever knows what is to be set.
type awayError struct{ error }

// Is makes it ErrAway.
func (awayError) Is(target error) bool { return target == ErrAway }

func (e awayError) Unwrap() error { return e.error }

// wantLocked has Run get more addresses of a pool, if there are few left.
func (m *Manager) wantLocked(p *pool) {
	if m.cluster != nil && p.wantsMore() {
		m.wakeLocked()
	}
}

// wakeLocked has Run look for what there is to do.
func (m *Manager) wakeLocked() {
	if m.cluster == nil {
		return
	}
	select {
	case m.cluster.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// leaving returns what says, durably, that this host has to leave the pool in the
// ledger.
func (p *pool) leaving() (store.Op, error) { return leavingOp(p.Subnet, p.since) }

func leavingOp(subnet netip.Prefix, since time.Time) (store.Op, error) {
	value, err := encode(leavingRecord{Version: recordVersion, Subnet: subnet, Since: since.UTC().Round(0)})
	return store.Set(store.LocalLeavingKey(subnet.String()), value), err
}

// leavingRecord is the durable form of a pool that is to be left.
type leavingRecord struct {
	Version int          `json:"v"`
	Subnet  netip.Prefix `json:"subnet"`
	Since   time.Time    `json:"since"`
}

// joinPool makes this host take part in a pool of the cluster. That it is to be left
// again is durable before it is joined, so that whatever happens in between, no pool
// stays without a network.
func (m *Manager) joinPool(ctx context.Context, req PoolRequest, routes []netip.Prefix) (poolGrant, error) {
	j := &joining{m: m, req: req, routes: routes}
	defer func() { j.done() }()
	auto := !req.Subnet.IsValid() || req.onlyLength()
	if !auto {
		if err := j.reserve(ctx, nil); err != nil || !j.g.isNew {
			return j.g, err
		}
	}
	err := m.ask(ctx, "making an address pool of the cluster", func(ctx context.Context, l *ledger.Ledger) error {
		rec, err := l.Join(ctx, auto, func(taken []netip.Prefix) (ledger.Pool, error) {
			if auto {
				if err := j.reserve(ctx, taken); err != nil {
					return ledger.Pool{}, err
				}
			}
			return ledger.Pool{Subnet: j.g.Subnet, Range: j.g.Range}, nil
		})
		j.record = rec
		return err
	})
	if err == nil {
		m.mu.Lock()
		j.g.Gateway, j.g.Aux, j.g.checked = j.record.Gateway, j.record.Aux, true
		m.mu.Unlock()
		err = m.writePool(ctx, j.g, store.Delete(store.LocalLeavingKey(j.g.Subnet.String())))
		if err != nil {
			j.g.isNew = false // writePool has taken it back
		}
		joined := j.g
		j.g = poolGrant{}
		return joined, err
	}
	return poolGrant{}, err
}

// joining is a pool that is on its way from being reserved in memory to being joined.
type joining struct {
	m      *Manager
	req    PoolRequest
	routes []netip.Prefix
	g      poolGrant
	record ledger.Pool
	turn   func()
}

// reserve reserves a pool that overlaps nothing of this host, nor of taken, in place
// of the one before. If it is new, its turn is taken.
func (j *joining) reserve(ctx context.Context, taken []netip.Prefix) error {
	j.done()
	g, err := j.m.awaitPool(ctx, j.req, append(taken, j.routes...))
	if err != nil {
		return err
	}
	j.g = g
	if !g.isNew {
		return nil
	}
	if j.turn, err = j.m.turnOf(ctx, g.pool); err != nil {
		return err
	}
	op, err := g.leaving()
	if err == nil {
		_, err = j.m.kv.Apply(ctx, op)
	}
	if err != nil {
		return fmt.Errorf("write pool %s: %w", g.Subnet, err)
	}
	return nil
}

// done takes back what was reserved and not joined, and ends the turn.
func (j *joining) done() {
	if j.g.isNew {
		j.m.unreserve(j.g)
	}
	if j.turn != nil {
		j.turn()
	}
	j.g, j.turn = poolGrant{}, nil
}

func (m *Manager) unreserve(g poolGrant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.pools, g.id)
	close(g.writing)
	g.writing = nil
	m.wakeLocked()
}

// FreeHost frees all addresses that a host has of the cluster's pools, and takes it
// out of them. It must be gone for good: what it has given out may be given out again
// at once. If it comes back all the same, it finds out; see [Manager.Recheck].
//
// Nothing is freed when the conditions while, which are checks of the cluster store, do
// not hold any more. It may be done again at any point.
func (m *Manager) FreeHost(ctx context.Context, host string, while ...store.Op) error {
	if m.cluster == nil {
		return fmt.Errorf("free the addresses of host %s: %w, because CLUSTER_STORE is not set", host, ErrAway)
	}
	pools, err := m.cluster.Pools(ctx)
	if err != nil {
		return fmt.Errorf("free the addresses of host %s: %w: %w", host, ErrAway, err)
	}
	var errs []error
	for _, p := range pools {
		err := m.freeHostOf(ctx, p, host, while)
		errs = append(errs, err)
		if ctx.Err() != nil || errors.Is(err, store.ErrUnavailable) || errors.Is(err, ledger.ErrNotSo) {
			break // it is the same with the others, and takes as long to find out
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("free the addresses of host %s: %w", host, err)
	}
	if err := m.cluster.Unask(ctx, host); err != nil {
		return fmt.Errorf("free the addresses of host %s: %w", host, err)
	}
	return nil
}

// freeHostOf is FreeHost for one pool.
func (m *Manager) freeHostOf(ctx context.Context, p ledger.Entry, host string, while []store.Op) error {
	if p.Err != nil {
		return p.Err
	}
	if _, in := p.Hosts[host]; !in {
		if uses, err := m.cluster.Uses(ctx, p.Subnet, host); err != nil || !uses {
			return err
		}
	}
	return m.cluster.Vacate(ctx, p.Subnet, host, while...)
}

// Recheck has [Manager.Run] compare this host's reserves with the ledger: others may
// have taken it for gone.
func (m *Manager) Recheck() {
	if m.cluster == nil {
		return
	}
	select {
	case m.cluster.check <- struct{}{}:
	default: // it will be checked anyway
	}
}
