package names

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/ournet/ournet/dns"
	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/engine"
)

// network is one of this host's, with the endpoints that have joined a sandbox.
type network struct {
	name     string // "" until the engine has told it
	ttl      time.Duration
	internal bool
	// gateways is for how many families containers get out by it.
	gateways  int
	endpoints map[driver.EndpointID]*endpoint
}

type endpoint struct {
	addrs   []netip.Addr
	sandbox string
	label   *label // nil until the engine has told it
}

// label is what the engine says of an endpoint. It never changes.
type label struct {
	container string
	name      string
	aliases   []string
	links     []engine.Link
	priority  int
	// noIPv6 says that the container has no address of that family after all.
	noIPv6 bool
	// remembered is true for what an earlier process had learned, until the engine
	// confirms it.
	remembered bool
}

// newLabel returns the names that the engine's own resolver has for a container on a
// network (moby daemon/container_operations.go, buildEndpointDNSNames).
func newLabel(c engine.Inspection, at engine.Attachment) *label {
	aliases := slices.Clone(at.Aliases)
	for _, name := range []string{c.ID[:min(len(c.ID), shortID)], c.Hostname} {
		if name != "" && !slices.Contains(aliases, name) {
			aliases = append(aliases, name)
		}
	}
	return &label{container: c.ID, name: c.Name, aliases: aliases, links: at.Links, priority: at.Priority, noIPv6: at.NoIPv6}
}

// answers are the addresses that its names have. Where the user has switched IPv6 off on
// a container's interface, the engine gives that address back after the endpoint was
// made (moby daemon/libnetwork/sandbox_linux.go, releaseIPv6Address).
func (e *endpoint) answers() []netip.Addr {
	if e.label == nil || !e.label.noIPv6 {
		return e.addrs
	}
	return slices.DeleteFunc(slices.Clone(e.addrs), netip.Addr.Is6)
}

// shortID is how many digits of a container's id are a name of it.
const shortID = 12

func (l *label) equal(o *label) bool {
	return l != nil && l.container == o.container && l.name == o.name && l.priority == o.priority && l.noIPv6 == o.noIPv6 &&
		slices.Equal(l.aliases, o.aliases) && slices.Equal(l.links, o.links)
}

// SetNetwork makes a network known.
func (n *Names) SetNetwork(d driver.Network) {
	n.mu.Lock()
	defer n.mu.Unlock()
	have, ok := n.networks[d.ID]
	if !ok {
		have = &network{endpoints: make(map[driver.EndpointID]*endpoint)}
		n.networks[d.ID] = have
	}
	have.ttl, have.internal, have.gateways = n.parts.TTL, d.Internal, 0
	if d.Options.DNSTTL != nil {
		have.ttl = *d.Options.DNSTTL
	}
	if d.OwnGateway() {
		for _, family := range []bool{d.HasIPv4(), d.HasIPv6()} {
			if family {
				have.gateways++
			}
		}
	}
	n.tellNetworkLocked(d.ID)
	n.gateways.set(d)
}

// RemoveNetwork forgets a network with all its endpoints.
func (n *Names) RemoveNetwork(id driver.NetworkID) {
	n.gateways.remove(id)
	for _, former := range n.forget(id) {
		n.stations.later(former)
	}
}

// forget removes a network with what is in it at that moment, and returns the sandboxes
// that have no endpoint any more.
func (n *Names) forget(id driver.NetworkID) (empty []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if have, ok := n.networks[id]; ok {
		for ep := range have.endpoints {
			if key := n.removeLocked(id, ep); key != "" {
				empty = append(empty, key)
			}
		}
	}
	delete(n.networks, id)
	n.parts.Records.RemoveNetwork(dns.NetworkID(id))
	return empty
}

// setName is called when the engine has told what a network is called.
func (n *Names) setName(id driver.NetworkID, name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if have, ok := n.networks[id]; ok && have.name != name {
		have.name = name
		n.tellNetworkLocked(id)
	}
}

// NetworkName returns what a network of this host is called, "" if that is not known.
func (n *Names) NetworkName(id driver.NetworkID) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if have, ok := n.networks[id]; ok {
		return have.name
	}
	return ""
}

// enter enters an endpoint, and returns the sandbox that it was in before and that has
// none any more, if there is one.
func (n *Names) enter(ep driver.Endpoint) (empty string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	have, ok := n.networks[ep.Network]
	if !ok {
		return "" // deleted meanwhile
	}
	entry := &endpoint{addrs: ep.Addrs(), sandbox: ep.SandboxKey}
	if before, ok := have.endpoints[ep.ID]; ok {
		entry.label = before.label
		if before.sandbox != ep.SandboxKey {
			empty = n.leaveLocked(ep.ID, before.sandbox)
		}
	}
	have.endpoints[ep.ID] = entry
	if n.sandboxes[ep.SandboxKey] == nil {
		n.sandboxes[ep.SandboxKey] = make(map[driver.EndpointID]driver.NetworkID)
	}
	n.sandboxes[ep.SandboxKey][ep.ID] = ep.Network
	n.tellEndpointsLocked(ep.Network)
	n.tellSandboxLocked(ep.SandboxKey)
	return empty
}

// remove removes an endpoint, and returns the sandbox that has none any more, if that
// is so.
func (n *Names) remove(network driver.NetworkID, id driver.EndpointID) (empty string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.removeLocked(network, id)
}

func (n *Names) removeLocked(network driver.NetworkID, id driver.EndpointID) (empty string) {
	have, ok := n.networks[network]
	if !ok || have.endpoints[id] == nil {
		return ""
	}
	key := have.endpoints[id].sandbox
	if have.endpoints[id].label != nil {
		n.save(network, id)
	}
	delete(have.endpoints, id)
	n.tellEndpointsLocked(network)
	return n.leaveLocked(id, key)
}

// setLabelLocked enters what an endpoint is called, nil for not known.
func (n *Names) setLabelLocked(network driver.NetworkID, id driver.EndpointID, l *label) {
	ep := n.endpointLocked(network, id)
	if ep == nil {
		return
	}
	ep.label = l
	n.tellEndpointsLocked(network)
	n.tellSandboxLocked(ep.sandbox)
}

// endpointLocked returns an endpoint, nil if it is not there.
func (n *Names) endpointLocked(network driver.NetworkID, id driver.EndpointID) *endpoint {
	if have, ok := n.networks[network]; ok {
		return have.endpoints[id]
	}
	return nil
}

// leaveLocked takes an endpoint out of its sandbox.
func (n *Names) leaveLocked(id driver.EndpointID, key string) (empty string) {
	delete(n.sandboxes[key], id)
	if len(n.sandboxes[key]) > 0 {
		n.tellSandboxLocked(key)
		return ""
	}
	delete(n.sandboxes, key)
	n.parts.Records.RemoveSandbox(dns.SandboxKey(key))
	return key
}

// joined reports whether an endpoint is in the sandbox.
func (n *Names) joined(key string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.sandboxes[key]) > 0
}

func (n *Names) keys() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.sandboxes))
}

// tellNetworkLocked tells the records of a network. Its name may change the order of
// the networks of a sandbox.
func (n *Names) tellNetworkLocked(id driver.NetworkID) {
	have := n.networks[id]
	n.parts.Records.SetNetwork(dns.Network{ID: dns.NetworkID(id), Name: have.name, TTL: have.ttl})
	for _, ep := range have.endpoints {
		n.tellSandboxLocked(ep.sandbox)
	}
}

func (n *Names) tellEndpointsLocked(id driver.NetworkID) {
	var list []dns.Endpoint
	for ep, have := range n.networks[id].endpoints {
		of := dns.Endpoint{ID: dns.EndpointID(ep), Addrs: have.answers()}
		if have.label != nil {
			of.Name, of.Aliases = have.label.name, have.label.aliases
		}
		list = append(list, of)
	}
	slices.SortFunc(list, func(a, b dns.Endpoint) int { return cmp.Compare(a.ID, b.ID) })
	n.parts.Records.Replace(dns.NetworkID(id), Local, list)
}

func (n *Names) tellSandboxLocked(key string) {
	s := dns.Sandbox{Addrs: make(map[dns.NetworkID][]netip.Addr), Confined: true}
	var on []rank
	for ep, id := range n.sandboxes[key] {
		have := n.networks[id]
		s.Addrs[dns.NetworkID(id)] = append(s.Addrs[dns.NetworkID(id)], have.endpoints[ep].addrs...)
		s.Confined = s.Confined && have.internal
		r := rank{id: id, network: have}
		if l := have.endpoints[ep].label; l != nil {
			r.priority = l.priority
			for _, link := range l.links {
				s.Links = append(s.Links, dns.Link{Network: dns.NetworkID(id), Alias: link.Alias, Target: linkTarget(link.Target)})
			}
		}
		on = append(on, r)
	}
	slices.SortFunc(on, rank.compare)
	for _, r := range on {
		s.Networks = append(s.Networks, dns.NetworkID(r.id))
	}
	n.parts.Records.SetSandbox(dns.SandboxKey(key), s)
}

// linkTarget returns the name by which a linked container is found: an id may be given
// in full, but only its start is a name.
func linkTarget(target string) string {
	if driver.ValidID(target) {
		return target[:shortID]
	}
	return target
}

// rank is the place of a network among those of a sandbox.
type rank struct {
	id       driver.NetworkID
	network  *network
	priority int
}

// compare has the order of the engine (moby daemon/libnetwork/sandbox.go,
// Endpoint.Less). Where several networks have a name, the first wins.
func (r rank) compare(o rank) int {
	return cmp.Or(
		cmp.Compare(o.priority, r.priority),
		compareBool(r.network.internal, o.network.internal),
		cmp.Compare(o.network.gateways, r.network.gateways),
		cmp.Compare(r.network.name, o.network.name),
		cmp.Compare(r.id, o.id),
	)
}

// compareBool has false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}
