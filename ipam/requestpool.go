package ipam

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ournet/ournet/internal/store"
)

// RequestPool reserves a subnet and returns its id. It is durable on return.
//
// Without a subnet each request gets another one, out of the blocks, that
// overlaps neither a pool nor a route of this host; an engine repeats such a
// request until it likes the answer. With a subnet, the repeated request for a
// pool that no network has yet gets the same pool; everything else that overlaps
// is [ErrOverlap].
func (m *Manager) RequestPool(ctx context.Context, req PoolRequest) (PoolID, netip.Prefix, error) {
	req, err := m.checkPoolRequest(req)
	if err != nil {
		return "", netip.Prefix{}, fmt.Errorf("request address pool: %w", err)
	}
	all, err := m.routes()
	if err != nil {
		return "", netip.Prefix{}, fmt.Errorf("request address pool: list this host's routes: %w", err)
	}
	routes := slices.DeleteFunc(slices.Clone(all), isDefault)
	var g poolGrant
	if req.Space == SpaceCluster {
		g, err = m.joinPool(ctx, req, routes)
	} else if g, err = m.awaitPool(ctx, req, routes); err == nil && g.isNew {
		err = m.writePool(ctx, g)
	}
	if err != nil {
		return "", netip.Prefix{}, fmt.Errorf("request address pool: %w", err)
	}
	return g.id, g.Subnet, nil
}

// awaitPool is [Manager.reservePool], and waits where that says so.
func (m *Manager) awaitPool(ctx context.Context, req PoolRequest, routes []netip.Prefix) (poolGrant, error) {
	for {
		g, wait, err := m.reservePool(req, routes)
		if err != nil || wait == nil {
			return g, err
		}
		if err := await(ctx, wait); err != nil {
			return poolGrant{}, err
		}
	}
}

// The only option of a pool (--ipam-opt), and what it may be.
const (
	optScope     = "scope"
	scopeHost    = "host"
	scopeCluster = "cluster"
)

// checkPoolRequest returns the request with the address space that its options say.
func (m *Manager) checkPoolRequest(req PoolRequest) (PoolRequest, error) {
	for _, key := range slices.Sorted(maps.Keys(req.Options)) {
		if key != optScope {
			return req, fmt.Errorf("%w: unknown option --ipam-opt %s; the known one is %s=%s or %s=%s",
				ErrRequest, key, optScope, scopeHost, optScope, scopeCluster)
		}
	}
	if !IsSpace(req.Space) {
		return req, fmt.Errorf("%w %q: there are %q and %q", ErrSpace, req.Space, SpaceHost, SpaceCluster)
	}
	switch scope, given := req.Options[optScope]; {
	case !given:
	case scope == scopeHost:
		req.Space = SpaceHost
	case scope == scopeCluster:
		req.Space = SpaceCluster
	default:
		return req, fmt.Errorf("%w: --ipam-opt %s=%s: it is %s or %s", ErrRequest, optScope, scope, scopeHost, scopeCluster)
	}
	// It has said where the pool is, and says nothing else of it.
	req.Options = nil
	if req.Space == SpaceCluster && m.cluster == nil {
		return req, fmt.Errorf("%w: an address pool of the cluster needs CLUSTER_STORE to be set; "+
			"set it, or give the network --ipam-opt %s=%s", ErrAway, optScope, scopeHost)
	}
	return req, req.check()
}

func (req PoolRequest) check() error {
	if !req.Subnet.IsValid() {
		if req.Range.IsValid() {
			return fmt.Errorf("%w: range %s without a subnet; give the network a --subnet", ErrRequest, req.Range)
		}
		return nil
	}
	if req.onlyLength() {
		if req.Range.IsValid() {
			return fmt.Errorf("%w: range %s without a subnet of its own; give the network a whole --subnet", ErrRequest, req.Range)
		}
		return checkLength(req.Subnet, req.V6)
	}
	if err := checkSubnet(req.Subnet, req.V6); err != nil {
		return err
	}
	return checkRange(req.Range, req.Subnet)
}

// onlyLength reports whether the request says nothing of the subnet but its length:
// 0.0.0.0/26 is any /26. Engine 29's own address manager takes it so too (moby
// daemon/libnetwork/ipams/defaultipam/allocator.go, RequestPool).
func (req PoolRequest) onlyLength() bool {
	return req.Subnet.IsValid() && req.Subnet.Bits() > 0 && req.Subnet.Addr().IsUnspecified()
}

// isDefault also takes 0.0.0.0/1 and 128.0.0.0/1 for default routes: VPNs set
// both halves to overrule the default route without replacing it.
func isDefault(p netip.Prefix) bool { return p.Bits() <= 1 }

// poolGrant is a pool for a request; if isNew it is to be written first.
type poolGrant struct {
	*pool

	isNew bool
}

func (m *Manager) reservePool(req PoolRequest, routes []netip.Prefix) (g poolGrant, wait <-chan struct{}, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	r := poolRecord{
		Version: recordVersion, Subnet: req.Subnet, Range: req.Range,
		Options: maps.Clone(req.Options), Created: now.UTC().Round(0),
	}
	if !req.Subnet.IsValid() || req.onlyLength() {
		r.Auto = true
		if r.Subnet, wait, err = m.freeSubnetLocked(req, routes); err != nil || wait != nil {
			return poolGrant{}, wait, err
		}
	} else if g, wait, err = m.matchLocked(req.Space, r, routes); g.pool != nil || wait != nil || err != nil {
		return g, wait, err
	}
	p := newPool(NewPoolID(req.Space, r.Subnet), r, now)
	p.writing = make(chan struct{})
	m.pools[p.id] = p
	return poolGrant{pool: p, isNew: true}, nil, nil
}

// matchLocked compares a request for a given subnet with what there is. It
// returns the pool of the same request, something to wait for, an error, or none
// of these if nothing is in the way.
func (m *Manager) matchLocked(space string, r poolRecord, routes []netip.Prefix) (g poolGrant, wait <-chan struct{}, err error) {
	for _, id := range slices.Sorted(maps.Keys(m.pools)) {
		p := m.pools[id]
		switch {
		case !p.Subnet.Overlaps(r.Subnet):
			continue
		case p.writing != nil:
			return poolGrant{}, p.writing, nil
		case p.network == "" && p.id.space() == space && p.sameRequest(r):
			p.since, p.released = m.now(), false
			if _, unsure := m.strays[p.id.key()]; unsure {
				p.writing = make(chan struct{})
				return poolGrant{pool: p, isNew: true}, nil, nil
			}
			return poolGrant{pool: p}, nil, nil
		default:
			return poolGrant{}, nil, m.overlapErrorLocked(p, r)
		}
	}
	if other, found := overlapping(r.Subnet, m.foreign); found {
		return poolGrant{}, nil, fmt.Errorf("subnet %s %w the pool %s, which a newer version of ournet made", r.Subnet, ErrOverlap, other)
	}
	if route, found := overlapping(r.Subnet, routes); found {
		return poolGrant{}, nil, fmt.Errorf("subnet %s %w the route to %s that this host has; "+
			"choose another --subnet, or remove that route", r.Subnet, ErrOverlap, route)
	}
	return poolGrant{}, nil, nil
}

// overlapErrorLocked says what is in the way of a pool: p, or all that networks have.
func (m *Manager) overlapErrorLocked(p *pool, r poolRecord) error {
	switch {
	case p.network != "":
		e := &OverlapError{Subnet: r.Subnet}
		for _, id := range slices.Sorted(maps.Keys(m.pools)) {
			if o := m.pools[id]; o.network != "" && o.Subnet.Overlaps(r.Subnet) {
				e.With = append(e.With, Taken{Subnet: o.Subnet, Network: o.network})
			}
		}
		return e
	case p.Subnet == r.Subnet && !p.Auto:
		return fmt.Errorf("subnet %s %w the same subnet of a network that is just being made with other settings "+
			"(range %s, options %v); try again in a minute", r.Subnet, ErrOverlap, orNone(p.Range), p.Options)
	default:
		return fmt.Errorf("subnet %s %w the subnet %s of a network that is just being made; choose another --subnet", r.Subnet, ErrOverlap, p.Subnet)
	}
}

func orNone(p netip.Prefix) string {
	if !p.IsValid() {
		return "none"
	}
	return p.String()
}

// freeSubnetLocked returns the first subnet of the blocks that is free, of the length
// that is asked for.
func (m *Manager) freeSubnetLocked(req PoolRequest, routes []netip.Prefix) (netip.Prefix, <-chan struct{}, error) {
	taken := slices.Concat(routes, m.foreign)
	var wait <-chan struct{}
	for _, p := range m.pools {
		taken = append(taken, p.Subnet)
		if p.writing != nil {
			wait = p.writing
		}
	}
	var tried []string
	for _, b := range m.blocks {
		if b.Base.Addr().Is6() != req.V6 {
			continue
		}
		if req.onlyLength() {
			b.Size = req.Subnet.Bits()
		}
		if subnet, ok := b.free(taken); ok {
			return subnet, nil, nil
		}
		tried = append(tried, b.String())
	}
	if wait != nil { // a pool on its way in or out may yet leave its subnet
		return netip.Prefix{}, wait, nil
	}
	if req.onlyLength() {
		return netip.Prefix{}, nil, fmt.Errorf("%w of length %d in %s; give the network a --subnet, or the plugin more in DEFAULT_ADDRESS_POOLS",
			ErrNoSubnet, req.Subnet.Bits(), strings.Join(tried, ";"))
	}
	return netip.Prefix{}, nil, fmt.Errorf("%w in %s: each overlaps a network or a route of this host; "+
		"give the network a --subnet, or the plugin more in DEFAULT_ADDRESS_POOLS", ErrNoSubnet, strings.Join(tried, ";"))
}

// writePool makes a reserved pool durable, or takes it back.
func (m *Manager) writePool(ctx context.Context, g poolGrant, also ...store.Op) error {
	value, err := encode(g.poolRecord)
	if err == nil {
		_, err = m.kv.Apply(ctx, append(also, store.Set(g.id.key(), value))...)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.settleLocked(g.id.key(), stray{pool: g.id}, err)
	if err != nil && !known { // one that was known before stays
		delete(m.pools, g.id)
	}
	close(g.writing)
	g.writing = nil
	if err != nil {
		return fmt.Errorf("write pool %s: %w", g.Subnet, err)
	}
	return nil
}
