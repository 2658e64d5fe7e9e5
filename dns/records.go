package dns

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// Records say who has which name. They are safe for concurrent use, and what comes
// in may come in any order: endpoints before their network, a sandbox before its
// networks. The zero value is not useful; see [NewRecords].
type Records struct {
	snapshot atomic.Pointer[snapshot]

	mu        sync.Mutex // guards following, and who may replace the snapshot
	networks  map[NetworkID]Network
	parts     map[NetworkID]map[HostID][]Endpoint
	suspects  map[HostID]bool
	sandboxes map[SandboxKey]Sandbox
	zones     map[NetworkID]*zone
}

// snapshot is what queries read. It never changes.
type snapshot struct {
	views map[SandboxKey]*view
	// guests are the sandboxes by what they send from to a gateway.
	guests map[guest]SandboxKey
}

// guest is an address on a network.
type guest struct {
	network NetworkID
	addr    netip.Addr
}

// NewRecords returns records that have nothing.
func NewRecords() *Records {
	r := &Records{
		networks: make(map[NetworkID]Network), parts: make(map[NetworkID]map[HostID][]Endpoint),
		suspects: make(map[HostID]bool), sandboxes: make(map[SandboxKey]Sandbox),
		zones: make(map[NetworkID]*zone),
	}
	r.snapshot.Store(&snapshot{})
	return r
}

// SetNetwork makes a network known, or changes its name and TTL.
func (r *Records) SetNetwork(n Network) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if have, ok := r.networks[n.ID]; ok && have == n {
		return
	}
	r.networks[n.ID] = n
	r.rebuildLocked(n.ID)
}

// RemoveNetwork takes all its names away. Endpoints are not forgotten with it: each
// host's record of them is withdrawn by itself.
func (r *Records) RemoveNetwork(id NetworkID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.networks[id]; !ok {
		return
	}
	delete(r.networks, id)
	r.rebuildLocked(id)
}

// Replace says which endpoints a host has on a network: exactly these. None takes
// all of them away. The caller leaves what it gave alone afterwards.
func (r *Records) Replace(id NetworkID, host HostID, endpoints []Endpoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.EqualFunc(r.parts[id][host], endpoints, sameEndpoint) {
		return
	}
	switch {
	case len(endpoints) > 0 && r.parts[id] == nil:
		r.parts[id] = map[HostID][]Endpoint{host: endpoints}
	case len(endpoints) > 0:
		r.parts[id][host] = endpoints
	default:
		delete(r.parts[id], host)
		if len(r.parts[id]) == 0 {
			delete(r.parts, id)
		}
	}
	r.rebuildLocked(id)
}

// SetSuspect withdraws all names of a host, or brings them back: a host that nobody
// hears of may be gone with its containers.
func (r *Records) SetSuspect(host HostID, suspect bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.suspects[host] == suspect {
		return
	}
	if suspect {
		r.suspects[host] = true
	} else {
		delete(r.suspects, host)
	}
	var touched []NetworkID
	for id, hosts := range r.parts {
		if _, ok := hosts[host]; ok {
			touched = append(touched, id)
		}
	}
	r.rebuildLocked(touched...)
}

// SetSandbox says what a sandbox may ask.
func (r *Records) SetSandbox(key SandboxKey, s Sandbox) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Networks, s.Links, s.Addrs = slices.Clone(s.Networks), slices.Clone(s.Links), maps.Clone(s.Addrs)
	guests := r.guestsLocked(key, s)
	r.sandboxes[key] = s
	views := maps.Clone(r.snapshot.Load().views)
	if views == nil {
		views = make(map[SandboxKey]*view)
	}
	views[key] = newView(s, r.zones)
	r.snapshot.Store(&snapshot{views: views, guests: guests})
}

// guestsLocked returns the guests with these addresses of a sandbox in the place of
// those that it has. An address that another sandbox has by now is that one's.
func (r *Records) guestsLocked(key SandboxKey, s Sandbox) map[guest]SandboxKey {
	have := r.snapshot.Load().guests
	before := r.sandboxes[key].Addrs
	if maps.EqualFunc(before, s.Addrs, slices.Equal[[]netip.Addr]) {
		return have
	}
	guests := maps.Clone(have)
	if guests == nil {
		guests = make(map[guest]SandboxKey)
	}
	for id, addrs := range before {
		for _, a := range cleanAddrs(addrs) {
			if g := (guest{id, a}); guests[g] == key {
				delete(guests, g)
			}
		}
	}
	for id, addrs := range s.Addrs {
		for _, a := range cleanAddrs(addrs) {
			guests[guest{id, a}] = key
		}
	}
	return guests
}

// RemoveSandbox forgets a sandbox: it owns no name then.
func (r *Records) RemoveSandbox(key SandboxKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	guests := r.guestsLocked(key, Sandbox{})
	delete(r.sandboxes, key)
	views := maps.Clone(r.snapshot.Load().views)
	delete(views, key)
	r.snapshot.Store(&snapshot{views: views, guests: guests})
}

// rebuildLocked makes the zones of these networks anew, and the views that have them.
func (r *Records) rebuildLocked(ids ...NetworkID) {
	for _, id := range ids {
		n, ok := r.networks[id]
		if !ok {
			delete(r.zones, id)
			continue
		}
		var endpoints []Endpoint
		for host, eps := range r.parts[id] {
			if !r.suspects[host] {
				endpoints = append(endpoints, eps...)
			}
		}
		r.zones[id] = newZone(n, endpoints)
	}
	views := maps.Clone(r.snapshot.Load().views)
	for key, s := range r.sandboxes {
		if slices.ContainsFunc(ids, func(id NetworkID) bool { return slices.Contains(s.Networks, id) }) {
			views[key] = newView(s, r.zones)
		}
	}
	r.snapshot.Store(&snapshot{views: views, guests: r.snapshot.Load().guests})
}

// view returns what a sandbox may ask; one that is not known may ask nothing of us.
func (r *Records) view(key SandboxKey) *view { return r.snapshot.Load().views[key] }

// viewOf returns what the sandbox with an address on a network may ask, nil if nobody
// has the address.
func (r *Records) viewOf(id NetworkID, addr netip.Addr) *view {
	s := r.snapshot.Load()
	return s.views[s.guests[guest{id, addr.Unmap().WithZone("")}]]
}

func sameEndpoint(a, b Endpoint) bool {
	return a.ID == b.ID && a.Name == b.Name && slices.Equal(a.Aliases, b.Aliases) && slices.Equal(a.Addrs, b.Addrs)
}
