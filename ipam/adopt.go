package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// LiveNetwork is a network that exists, with the pools and addresses it has.
type LiveNetwork struct {
	// Network is the network's id.
	Network string
	// Pools are its pools. Those of other address spaces are passed over.
	Pools []PoolID
	// Endpoints are the addresses of its endpoints, by endpoint id. Those that
	// are in none of Pools are passed over.
	Endpoints map[string][]netip.Addr
}

// Adopt makes the bindings exactly those of live: at start, when none is known,
// and now and then, to find what was missed. What is no longer live is unbound,
// and left to [Manager.Sweep]. What is live but not known is leased again; if
// that cannot be, because somebody else has it, the error says so and the rest
// is done.
func (m *Manager) Adopt(ctx context.Context, live []LiveNetwork) error {
	pools := make(map[PoolID]string)
	addrs := make(map[PoolID]map[netip.Addr]string)
	var problems []error
	for _, ln := range live {
		problems = append(problems, collect(m.resolve(ln), pools, addrs))
	}
	m.unbindOthers(pools, addrs)
	defer m.setPlaces(live)
	for _, id := range slices.Sorted(maps.Keys(pools)) {
		if err := m.adoptPool(ctx, id, pools[id]); err != nil {
			problems = append(problems, fmt.Errorf("adopt pool %s of network %s: %w", id, short(pools[id]), err))
			continue
		}
		for addr, endpoint := range addrs[id] {
			if err := m.adoptLease(ctx, id, addr, endpoint); err != nil {
				problems = append(problems, fmt.Errorf("adopt address %s of endpoint %s: %w", addr, short(endpoint), err))
			}
		}
	}
	return errors.Join(problems...)
}

// resolve returns ln with the ids that its pools have.
func (m *Manager) resolve(ln LiveNetwork) LiveNetwork {
	m.mu.Lock()
	defer m.mu.Unlock()
	ln.Pools = slices.Clone(ln.Pools)
	for i, id := range ln.Pools {
		ln.Pools[i] = m.resolveLocked(id)
	}
	return ln
}

// setPlaces says in which order networks use their pools.
func (m *Manager) setPlaces(live []LiveNetwork) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ln := range live {
		for i, id := range ln.Pools {
			if p := m.pools[m.resolveLocked(id)]; p != nil && p.network == ln.Network {
				p.place = i
			}
		}
	}
}

// collect adds what ln has to pools and addrs.
func collect(ln LiveNetwork, pools map[PoolID]string, addrs map[PoolID]map[netip.Addr]string) error {
	var problems []error
	own := make(map[PoolID]netip.Prefix)
	for _, id := range ln.Pools {
		space, subnet, err := ParsePoolID(string(id))
		if err != nil || !IsSpace(space) {
			continue
		}
		if other, taken := pools[id]; taken && other != ln.Network {
			problems = append(problems, fmt.Errorf("networks %s and %s both have pool %s", short(other), short(ln.Network), id))
			continue
		}
		own[id] = subnet
		pools[id] = ln.Network
		if addrs[id] == nil {
			addrs[id] = make(map[netip.Addr]string)
		}
	}
	for _, endpoint := range slices.Sorted(maps.Keys(ln.Endpoints)) {
		for _, addr := range ln.Endpoints[endpoint] {
			addr = addr.Unmap()
			for id, subnet := range own {
				if !subnet.Contains(addr) {
					continue
				}
				if other, taken := addrs[id][addr]; taken {
					problems = append(problems, fmt.Errorf("endpoints %s and %s both have address %s", short(other), short(endpoint), addr))
					continue
				}
				addrs[id][addr] = endpoint
			}
		}
	}
	return errors.Join(problems...)
}

func (m *Manager) unbindOthers(pools map[PoolID]string, addrs map[PoolID]map[netip.Addr]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for id, p := range m.pools {
		if p.network != "" && p.network != pools[id] {
			p.network, p.since = "", now
		}
		for addr, l := range p.leases {
			if l.endpoint != "" && l.endpoint != addrs[id][addr] {
				l.endpoint, l.since = "", now
			}
		}
	}
}

// adoptPool binds the pool, and makes it if it is not known.
func (m *Manager) adoptPool(ctx context.Context, id PoolID, network string) error {
	for {
		p, wait, err := m.reserveAdopted(id, network)
		if err != nil {
			return err
		}
		if wait != nil {
			if err := await(ctx, wait); err != nil {
				return err
			}
			continue
		}
		if !p.isNew {
			return nil
		}
		m.log.WithField("network", short(network)).Warnf("address pool %s of a network was not on record; it is again", id)
		if err := m.writePool(ctx, p); err != nil {
			return err
		}
	}
}

func (m *Manager) reserveAdopted(id PoolID, network string) (poolGrant, <-chan struct{}, error) {
	space, subnet, err := ParsePoolID(string(id))
	if err != nil {
		return poolGrant{}, nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.pools[id]; p != nil {
		if p.writing != nil {
			return poolGrant{}, p.writing, nil
		}
		p.network = network
		m.wantLocked(p)
		return poolGrant{pool: p}, nil, nil
	}
	r := poolRecord{Version: recordVersion, Subnet: subnet, Created: m.now().UTC().Round(0)}
	// Its own routes are in the way of nothing: the network is there already.
	if _, wait, err := m.matchLocked(space, r, nil); err != nil || wait != nil {
		return poolGrant{}, wait, err
	}
	p := newPool(id, r, m.now())
	p.writing = make(chan struct{})
	m.pools[id] = p
	return poolGrant{pool: p, isNew: true}, nil, nil
}

// adoptLease binds the address, and leases it if it is not leased.
func (m *Manager) adoptLease(ctx context.Context, id PoolID, addr netip.Addr, endpoint string) error {
	for {
		w, wait, err := m.reserveLive(id, addr, endpoint)
		switch {
		case err != nil:
			return err
		case wait != nil:
			if err := await(ctx, wait); err != nil {
				return err
			}
		case w.l == nil:
			return nil
		default:
			m.log.WithField("endpoint", short(endpoint)).Warnf("address %s of an endpoint was not leased; it is again", addr)
			return m.write(ctx, w)
		}
	}
}

func (m *Manager) reserveLive(id PoolID, addr netip.Addr, endpoint string) (leaseWrite, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, l, wait := m.findLocked(id, addr)
	switch {
	case p == nil:
		return leaseWrite{}, nil, fmt.Errorf("%w: %s", ErrNoPool, id)
	case wait != nil:
		return leaseWrite{}, wait, nil
	case !p.hosts.Contains(addr):
		return leaseWrite{}, nil, fmt.Errorf("%w: it is not an address of %s that a container can have", ErrRequest, p.Subnet)
	case l != nil && l.Released.IsZero() && !l.ofContainer():
		return leaseWrite{}, nil, fmt.Errorf("it is %w by %s", ErrInUse, l.holder(p))
	}
	if l != nil && l.Released.IsZero() {
		if _, unsure := m.strays[p.id.leaseKey(addr)]; !unsure {
			l.endpoint = endpoint
			return leaseWrite{}, nil, nil
		}
	}
	r := leaseRecord{Kind: kindStatic}
	switch {
	case l != nil:
		r.Kind, r.Name = l.Kind, l.Name
	case p.dynamic.Contains(addr):
		r.Kind = kindDynamic
	}
	w := beginLease(p, addr, r, m.now())
	w.l.endpoint = endpoint
	return w, nil, nil
}
