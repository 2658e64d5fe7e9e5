package cluster

import (
	"maps"
	"time"

	"github.com/ournet/ournet/internal/store"
)

// state is all that is known. What it has of this host is the truth; of others it is
// what was read last.
type state struct {
	hosts    map[HostID]*hostState
	networks map[NetworkID]Network
	removals map[NetworkID]map[HostID]removal
	// collected are networks that were removed everywhere while this host still takes
	// part in them.
	collected map[NetworkID]bool
	parts     map[NetworkID]*part
}

// hostState is what is known of a host.
type hostState struct {
	Host

	// followed is up to where the host's changes were read; the zero value is not.
	followed ring
	suspect  bool
	// suspicion is the cluster's record of it; the zero value when there is none.
	suspicion suspicion
}

func newState() state {
	return state{
		hosts:     make(map[HostID]*hostState),
		networks:  make(map[NetworkID]Network),
		removals:  make(map[NetworkID]map[HostID]removal),
		collected: make(map[NetworkID]bool),
		parts:     make(map[NetworkID]*part),
	}
}

func (s *state) host(id HostID) *hostState {
	if s.hosts[id] == nil {
		s.hosts[id] = &hostState{}
	}
	return s.hosts[id]
}

// removed reports whether a host's user removed the network as it is now.
func (s *state) removed(id NetworkID) bool {
	if s.collected[id] {
		return true
	}
	return isRemoved(s.networks[id].Generation, s.removals[id])
}

func isRemoved(generation uint64, removals map[HostID]removal) bool {
	for _, r := range removals {
		if r.Generation >= generation {
			return true
		}
	}
	return false
}

// setRemoval notes a host's removal of a network, or that there is none.
func (s *state) setRemoval(network NetworkID, host HostID, r *removal) {
	if r == nil {
		delete(s.removals[network], host)
		if len(s.removals[network]) == 0 {
			delete(s.removals, network)
		}
		return
	}
	if s.removals[network] == nil {
		s.removals[network] = make(map[HostID]removal)
	}
	s.removals[network][host] = *r
}

// publishLocked makes the state the view, and tells of what is new in it.
func (c *Cluster) publishLocked(what touched) {
	v := &View{
		self:     c.self,
		hosts:    make(map[HostID]Peer, len(c.state.hosts)),
		networks: make(map[NetworkID]Network, len(c.state.networks)),
		removed:  make(map[NetworkID]bool),
		parts:    maps.Clone(c.state.parts),
	}
	for id, h := range c.state.hosts {
		if h.ID == "" {
			continue // what it says of itself was not read yet
		}
		p := Peer{Host: h.Host, Suspect: h.suspect && id != c.self}
		if p.Suspect {
			p.LastSeen = h.suspicion.Since
		}
		v.hosts[id] = p
	}
	for id, n := range c.state.networks {
		v.networks[id] = n
		if c.state.removed(id) {
			v.removed[id] = true
		}
	}
	c.view.Store(v)
	if what.empty() {
		return
	}
	for s := range c.subs {
		s.tell(what)
	}
}

// mirrorLocked notes that the mirror is to have record at key. A record that cannot
// be encoded is a mistake of this package; the mirror goes without.
func mirrorLocked[T any](c *Cluster, key string, record T) {
	value, err := encode(record)
	if err != nil {
		c.log.WithField("key", key).WithField("err", err).Error("a record of the cluster cannot be kept")
		return
	}
	c.dirty[store.LocalSeenKey(key)] = value
}

// unmirrorLocked notes that the mirror is to have nothing at key.
func (c *Cluster) unmirrorLocked(key string) { c.dirty[store.LocalSeenKey(key)] = nil }

// setPartLocked replaces a host's part of a network by what was read, and returns
// whether that is different.
func (c *Cluster) setPartLocked(network NetworkID, host HostID, m *member, endpoints map[EndpointID]Endpoint) bool {
	p := c.state.parts[network]
	if p == nil {
		return false
	}
	changed := false
	have, was := p.members[host]
	switch {
	case m == nil && was:
		p, changed = p.withMember(host, nil), true
		c.unmirrorLocked(store.MemberKey(string(network), string(host)))
	case m != nil && (!was || have != *m):
		p, changed = p.withMember(host, m), true
		mirrorLocked(c, store.MemberKey(string(network), string(host)), *m)
	}
	different := false
	for id, e := range endpoints {
		if old, ok := p.endpoints[host][id]; !ok || !old.equal(e) {
			mirrorLocked(c, store.EndpointKey(string(network), string(host), string(id)), e)
			different = true
		}
	}
	for id := range p.endpoints[host] {
		if _, ok := endpoints[id]; !ok {
			c.unmirrorLocked(store.EndpointKey(string(network), string(host), string(id)))
			different = true
		}
	}
	if different {
		p, changed = p.withEndpoints(host, endpoints), true
	}
	c.state.parts[network] = p
	return changed
}

// setEndpointLocked replaces one endpoint of another host by what was read.
func (c *Cluster) setEndpointLocked(e Endpoint, there bool) bool {
	p := c.state.parts[e.Network]
	if p == nil {
		return false
	}
	key := store.EndpointKey(string(e.Network), string(e.Host), string(e.ID))
	old, was := p.endpoints[e.Host][e.ID]
	switch {
	case there && (!was || !old.equal(e)):
		mirrorLocked(c, key, e)
	case !there && was:
		c.unmirrorLocked(key)
	default:
		return false
	}
	c.state.parts[e.Network] = p.withEndpoint(e, there)
	return true
}

// dropHostLocked forgets a host.
func (c *Cluster) dropHostLocked(id HostID, what *touched) {
	for network := range c.state.parts {
		if c.setPartLocked(network, id, nil, nil) {
			what.network(network)
		}
	}
	delete(c.state.hosts, id)
	for _, key := range []string{store.HostKey(string(id)), store.ChangeKey(string(id)), store.SuspectKey(string(id))} {
		c.unmirrorLocked(key)
	}
	what.host(id)
}

// leavePartLocked forgets what is known of a network that this host leaves.
func (c *Cluster) leavePartLocked(network NetworkID) {
	p := c.state.parts[network]
	if p == nil {
		return
	}
	for host := range p.members {
		c.unmirrorLocked(store.MemberKey(string(network), string(host)))
	}
	for host, endpoints := range p.endpoints {
		for id := range endpoints {
			c.unmirrorLocked(store.EndpointKey(string(network), string(host), string(id)))
		}
	}
	delete(c.state.parts, network)
	delete(c.state.collected, network)
}

// suspectSince returns since when a host is missed, and whether it is.
func (h *hostState) suspectSince() (time.Time, bool) {
	return h.suspicion.Since, h.suspect && !h.suspicion.Since.IsZero()
}
