package cluster

import (
	"cmp"
	"maps"
	"slices"
	"sync"
)

// View is what was known of the cluster at one moment. It does not change; what it
// hands out must not be changed either.
type View struct {
	self     HostID
	hosts    map[HostID]Peer
	networks map[NetworkID]Network
	removed  map[NetworkID]bool
	parts    map[NetworkID]*part
}

// Self returns the id of the host whose view it is.
func (v *View) Self() HostID { return v.self }

// Hosts returns all hosts, this one too, in the order of their ids.
func (v *View) Hosts() []Peer {
	return slices.SortedFunc(maps.Values(v.hosts), func(a, b Peer) int { return cmp.Compare(a.ID, b.ID) })
}

// Host returns one host.
func (v *View) Host(id HostID) (Peer, bool) {
	p, ok := v.hosts[id]
	return p, ok
}

// Networks returns all networks, in the order of their ids.
func (v *View) Networks() []Network {
	return slices.SortedFunc(maps.Values(v.networks), func(a, b Network) int { return cmp.Compare(a.ID, b.ID) })
}

// Network returns one network.
func (v *View) Network(id NetworkID) (Network, bool) {
	n, ok := v.networks[id]
	return n, ok
}

// Named returns the networks of a name that are not removed; there can be several,
// when hosts made them at the same time. The one that was made first comes first.
func (v *View) Named(name string) []Network {
	var all []Network
	for id, n := range v.networks {
		if n.Complete && n.Name == name && !v.removed[id] {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b Network) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// Removed reports whether some host's user removed a network, so that all hosts have
// to.
func (v *View) Removed(id NetworkID) bool { return v.removed[id] }

// Joined reports whether this host takes part in a network.
func (v *View) Joined(id NetworkID) bool { return v.parts[id] != nil }

// Members returns the hosts that take part in a network, this one too, if this one
// does; otherwise nothing is known of it.
func (v *View) Members(id NetworkID) []HostID {
	if v.parts[id] == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(v.parts[id].members))
}

// Endpoints returns all endpoints of a network that this host takes part in, its own
// too, in the order of their hosts and ids. Those of a host that is suspect are among
// them.
func (v *View) Endpoints(id NetworkID) []Endpoint {
	if v.parts[id] == nil {
		return nil
	}
	return v.parts[id].list()
}

// part is what is known of a network that this host takes part in. It is immutable,
// and a changed one shares with it what did not change: a change costs as much as one
// host's endpoints and the number of hosts.
type part struct {
	members   map[HostID]member
	endpoints map[HostID]map[EndpointID]Endpoint

	once sync.Once
	all  []Endpoint // set by once
}

func newPart() *part { return &part{} }

func (p *part) list() []Endpoint {
	p.once.Do(func() {
		for _, endpoints := range p.endpoints {
			p.all = slices.AppendSeq(p.all, maps.Values(endpoints))
		}
		slices.SortFunc(p.all, func(a, b Endpoint) int {
			return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.ID, b.ID))
		})
	})
	return p.all
}

// withMember returns the part with a host's membership, or without if m is nil.
func (p *part) withMember(host HostID, m *member) *part {
	next := &part{members: maps.Clone(p.members), endpoints: p.endpoints}
	if m == nil {
		delete(next.members, host)
		return next
	}
	if next.members == nil {
		next.members = make(map[HostID]member)
	}
	next.members[host] = *m
	return next
}

// withEndpoints returns the part with other endpoints of a host.
func (p *part) withEndpoints(host HostID, endpoints map[EndpointID]Endpoint) *part {
	next := &part{members: p.members, endpoints: maps.Clone(p.endpoints)}
	if len(endpoints) == 0 {
		delete(next.endpoints, host)
		return next
	}
	if next.endpoints == nil {
		next.endpoints = make(map[HostID]map[EndpointID]Endpoint)
	}
	next.endpoints[host] = endpoints
	return next
}

// withEndpoint returns the part with one endpoint of its host, or without it.
func (p *part) withEndpoint(e Endpoint, there bool) *part {
	endpoints := maps.Clone(p.endpoints[e.Host])
	if !there {
		delete(endpoints, e.ID)
		return p.withEndpoints(e.Host, endpoints)
	}
	if endpoints == nil {
		endpoints = make(map[EndpointID]Endpoint)
	}
	endpoints[e.ID] = e
	return p.withEndpoints(e.Host, endpoints)
}
