package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ournet/ournet/internal/store"
)

// manyHosts is from how many hosts on a network is listed at once and not per host.
const manyHosts = 4

// errands are what is to be fetched.
type errands struct {
	whole   map[NetworkID]bool                // all of a network
	hosts   map[NetworkID]map[HostID]bool     // all that a host has in a network
	single  map[NetworkID]map[HostID][]string // endpoints whose ids begin so
	records map[HostID]bool                   // what a host says of itself
}

// follow fetches what is named by the changes that were not followed yet.
func (f *feed) follow(ctx context.Context) error {
	f.forget(time.Now())
	if f.c.in.isAway(listedChanges) || f.rings == nil {
		return nil
	}
	todo, upto := f.errands()
	var errs []error
	failed := make(map[HostID]bool)
	fail := func(err error, hosts ...HostID) {
		if err != nil {
			errs = append(errs, err)
			for _, host := range hosts {
				failed[host] = true
			}
		}
	}
	fail(f.fetchRecords(ctx, todo.records), slices.Collect(maps.Keys(todo.records))...)
	for network := range todo.whole {
		fail(f.fetchWhole(ctx, network), slices.Collect(maps.Keys(upto))...)
	}
	for network, hosts := range todo.hosts {
		for host := range hosts {
			fail(f.fetchHost(ctx, network, host), host)
		}
	}
	for network, hosts := range todo.single {
		for host, starts := range hosts {
			for _, start := range starts {
				fail(f.fetchEndpoint(ctx, network, host, start), host)
			}
		}
	}
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	for host, r := range upto {
		if !failed[host] {
			f.c.state.host(host).followed = r
			mirrorLocked(f.c, store.ChangeKey(string(host)), r)
		}
	}
	return errors.Join(errs...)
}

// forget drops hosts that the store does not know, when the time to say everything
// again is over.
func (f *feed) forget(now time.Time) {
	if f.keep.IsZero() || now.Before(f.keep) {
		return
	}
	f.keep = time.Time{}
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	var what touched
	for id := range f.c.state.hosts {
		if _, ok := f.rings[id]; !ok && id != f.c.self {
			f.c.dropHostLocked(id, &what)
		}
	}
	if !what.empty() {
		f.c.publishLocked(what)
	}
}

// errands returns what is to be fetched, and up to where each host is followed then.
func (f *feed) errands() (errands, map[HostID]ring) {
	todo := errands{
		whole: make(map[NetworkID]bool), hosts: make(map[NetworkID]map[HostID]bool),
		single: make(map[NetworkID]map[HostID][]string), records: make(map[HostID]bool),
	}
	upto := make(map[HostID]ring)
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	networks := slices.Collect(maps.Keys(f.c.state.parts))
	for _, network := range networks {
		if !f.loaded[network] {
			todo.whole[network] = true
		}
	}
	for host, r := range f.rings {
		known := f.c.state.host(host)
		if host == f.c.self || known.followed.same(r) && known.ID != "" {
			continue
		}
		upto[host] = r
		changes, all := r.since(known.followed)
		if !all || known.ID == "" {
			todo.records[host] = true
		}
		if !all {
			for _, network := range networks {
				todo.host(network, host)
			}
		}
		for _, change := range changes {
			todo.add(host, change, networks)
		}
	}
	for network, hosts := range todo.hosts {
		if len(hosts) > manyHosts {
			todo.whole[network] = true
		}
		for host := range hosts {
			delete(todo.single[network], host)
		}
	}
	for network := range todo.whole {
		delete(todo.hosts, network)
		delete(todo.single, network)
	}
	return todo, upto
}

func (e *errands) host(network NetworkID, host HostID) {
	if e.hosts[network] == nil {
		e.hosts[network] = make(map[HostID]bool)
	}
	e.hosts[network][host] = true
}

// add notes one change.
func (e *errands) add(host HostID, change string, networks []NetworkID) {
	if change == changedHost {
		e.records[host] = true
		return
	}
	start, endpoint := parseChange(change)
	for _, network := range networks {
		if !strings.HasPrefix(string(network), start) {
			continue
		}
		if endpoint == "" {
			e.host(network, host)
			continue
		}
		if e.single[network] == nil {
			e.single[network] = make(map[HostID][]string)
		}
		if !slices.Contains(e.single[network][host], endpoint) {
			e.single[network][host] = append(e.single[network][host], endpoint)
		}
		// Beyond some, one list of all costs less.
		if len(e.single[network][host]) > 2*fewChanges {
			e.host(network, host)
		}
	}
}

// fetchRecords reads what hosts say of themselves.
func (f *feed) fetchRecords(ctx context.Context, hosts map[HostID]bool) error {
	var pairs []store.Pair
	if len(hosts) > manyHosts {
		var err error
		if pairs, _, err = f.c.shared.List(ctx, store.HostsPrefix(), 0); err != nil {
			return err
		}
	} else {
		for host := range hosts {
			pair, err := f.c.shared.Get(ctx, store.HostKey(string(host)))
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			pairs = append(pairs, pair)
		}
	}
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	var what touched
	for _, p := range pairs {
		h, err := decode[Host](p.Value)
		if err != nil {
			f.unreadable(p.Key, err)
			continue
		}
		if !hosts[h.ID] || f.c.state.host(h.ID).equal(h) {
			continue
		}
		f.c.state.host(h.ID).Host = h
		mirrorLocked(f.c, p.Key, h)
		what.host(h.ID)
	}
	if !what.empty() {
		f.c.publishLocked(what)
		f.plan(choreJudge, time.Now())
	}
	return nil
}

// found is what of a network was read: by host.
type found struct {
	members   map[HostID]member
	endpoints map[HostID]map[EndpointID]Endpoint
}

func (f *feed) sort(pairs []store.Pair) found {
	all := found{members: make(map[HostID]member), endpoints: make(map[HostID]map[EndpointID]Endpoint)}
	for _, p := range pairs {
		network, host, endpoint, ok := store.SplitEndpointKey(p.Key)
		if !ok {
			continue
		}
		id := HostID(host)
		if endpoint == "" {
			m, err := decode[member](p.Value)
			if err != nil {
				f.unreadable(p.Key, err)
				continue
			}
			all.members[id] = m
			continue
		}
		e, err := decode[Endpoint](p.Value)
		if err != nil {
			f.unreadable(p.Key, err)
			continue
		}
		e.Network, e.Host, e.ID = NetworkID(network), id, EndpointID(endpoint)
		if all.endpoints[id] == nil {
			all.endpoints[id] = make(map[EndpointID]Endpoint)
		}
		all.endpoints[id][e.ID] = e
	}
	return all
}

// fetchWhole reads all of a network. Hosts that the store does not know at present
// keep what they have.
func (f *feed) fetchWhole(ctx context.Context, network NetworkID) error {
	pairs, _, err := f.c.shared.List(ctx, store.MembersPrefix(string(network)), 0)
	if err != nil {
		return err
	}
	all := f.sort(pairs)
	f.loaded[network] = true
	f.audit(network, all)
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	changed := false
	for host := range f.rings {
		if host != f.c.self {
			changed = f.takeLocked(network, host, all) || changed
		}
	}
	if changed {
		var what touched
		what.network(network)
		f.c.publishLocked(what)
	}
	return nil
}

// fetchHost reads all that one host has in a network.
func (f *feed) fetchHost(ctx context.Context, network NetworkID, host HostID) error {
	pairs, _, err := f.c.shared.List(ctx, store.MemberKey(string(network), string(host)), 0)
	if err != nil {
		return err
	}
	all := f.sort(pairs)
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if f.takeLocked(network, host, all) {
		var what touched
		what.network(network)
		f.c.publishLocked(what)
	}
	return nil
}

func (f *feed) takeLocked(network NetworkID, host HostID, all found) bool {
	var m *member
	if have, ok := all.members[host]; ok {
		m = &have
	} else if f.c.state.removed(network) {
		f.loosen(network, time.Now())
	}
	return f.c.setPartLocked(network, host, m, all.endpoints[host])
}

// fetchEndpoint reads the endpoints of a host whose ids begin so; mostly it is one.
func (f *feed) fetchEndpoint(ctx context.Context, network NetworkID, host HostID, start string) error {
	pairs, _, err := f.c.shared.List(ctx, store.EndpointKey(string(network), string(host), start), 0)
	if err != nil {
		return err
	}
	all := f.sort(pairs)
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	p := f.c.state.parts[network]
	if p == nil {
		return nil // this host has left it meanwhile
	}
	changed := false
	for id, e := range p.endpoints[host] {
		if _, ok := all.endpoints[host][id]; !ok && strings.HasPrefix(string(id), start) {
			changed = f.c.setEndpointLocked(e, false) || changed
		}
	}
	for _, e := range all.endpoints[host] {
		changed = f.c.setEndpointLocked(e, true) || changed
	}
	if changed {
		var what touched
		what.network(network)
		f.c.publishLocked(what)
	}
	return nil
}
