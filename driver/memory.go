package driver

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/ournet/ournet/internal/store"
)

// memorySize is how many containers of a network, beside those that have ports now,
// are remembered. The ones that had ports last are kept.
const memorySize = 1024

// Former is what is known of host ports from earlier starts.
type Former struct {
	// Own are the ports that the container had when they were published last. It
	// gets them again where it may choose and they are free.
	Own []Binding
	// Others reports whether another container had a port of the host, so that who
	// may choose takes a different one while there is any. nil means none had.
	Others func(Protocol, uint16) bool
}

// portMemory keeps the host ports that containers of this host had, beyond the end
// of their endpoints.
//
// A container is known by its address on the network: nothing else that the engine
// tells is the same at its next start (docs/adr/0010-port-memory.md).
type portMemory struct {
	mu      sync.Mutex // guards the fields below; taken before the registry's
	last    uint64     // number of the last entry made
	entries map[NetworkID]map[netip.Addr]memory
	// owners counts how often a port is remembered.
	owners map[portNumber]int
	// sandboxes has what the container in a sandbox had published last, on whatever
	// network.
	sandboxes map[string][]Binding
}

type memory struct {
	number uint64
	ports  []Binding
}

// portNumber is a port of whatever address of the host.
type portNumber struct {
	protocol Protocol
	port     uint16
}

func newPortMemory() *portMemory {
	return &portMemory{
		entries: make(map[NetworkID]map[netip.Addr]memory), owners: make(map[portNumber]int), sandboxes: make(map[string][]Binding),
	}
}

// former returns what is remembered for the next publishing of an endpoint: of its
// sandbox, or else of its own address or those of its siblings, which are the
// container's on other networks, what was published last. The engine moves a
// container's ports from one of its networks to another when its gateway does.
func (m *portMemory) former(ep Endpoint, siblings []Endpoint) Former {
	m.mu.Lock()
	defer m.mu.Unlock()
	var (
		latest memory
		mine   [][]Binding
	)
	for _, e := range append([]Endpoint{ep}, siblings...) {
		addr, ok := owner(e)
		if !ok {
			continue
		}
		entry := m.entries[e.Network][addr]
		mine = append(mine, entry.ports)
		if entry.number > latest.number {
			latest = entry
		}
	}
	if ports, ok := m.sandboxes[ep.SandboxKey]; ok {
		latest.ports = ports
	}
	own := slices.Concat(mine...)
	return Former{Own: slices.Clone(latest.ports), Others: func(protocol Protocol, port uint16) bool {
		n := portNumber{protocol, port}
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.owners[n] > len(portNumbers(own, n))
	}}
}

// write returns what makes the ports that ep has now durable, together with ep's own
// record, and what then enters them. When there are too many entries, the oldest of
// addresses that inUse does not name go.
func (m *portMemory) write(ep Endpoint, inUse func() map[netip.Addr]bool) (ops []store.Op, done func(), err error) {
	addr, ok := owner(ep)
	if !ok {
		return nil, func() {}, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	entry := memory{m.last, slices.Clone(ep.Published)}
	value, err := encodePorts(portsRecord{Network: ep.Network, Address: addr, Number: entry.number, Ports: entry.ports})
	if err != nil {
		return nil, nil, err
	}
	forget := m.surplusLocked(ep.Network, addr, inUse)
	ops = append(ops, store.Set(store.LocalPortsKey(string(ep.Network), addr.String()), value))
	for _, a := range forget {
		ops = append(ops, store.Delete(store.LocalPortsKey(string(ep.Network), a.String())))
	}
	return ops, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, a := range forget {
			m.dropLocked(ep.Network, a)
		}
		m.enterLocked(ep.Network, addr, entry)
		if ep.SandboxKey != "" {
			m.sandboxes[ep.SandboxKey] = entry.ports
		}
	}, nil
}

// endSandbox forgets a sandbox that has no endpoint any more.
func (m *portMemory) endSandbox(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.sandboxes, key)
}

// surplusLocked names the oldest entries of a network that have to go for one more.
func (m *portMemory) surplusLocked(network NetworkID, addr netip.Addr, inUse func() map[netip.Addr]bool) []netip.Addr {
	entries := m.entries[network]
	if len(entries) < memorySize {
		return nil
	}
	keep := inUse()
	var idle []netip.Addr
	for a := range entries {
		if a != addr && !keep[a] {
			idle = append(idle, a)
		}
	}
	slices.SortFunc(idle, func(a, b netip.Addr) int { return cmp.Compare(entries[a].number, entries[b].number) })
	return idle[:max(0, len(idle)-memorySize+1)]
}

// forget returns what removes the entries of a network from the store, and what then
// removes them from memory.
func (m *portMemory) forget(network NetworkID) (ops []store.Op, done func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for addr := range m.entries[network] {
		ops = append(ops, store.Delete(store.LocalPortsKey(string(network), addr.String())))
	}
	return ops, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		for addr := range m.entries[network] {
			m.dropLocked(network, addr)
		}
		delete(m.entries, network)
	}
}

// networks returns those that it has entries of.
func (m *portMemory) networks() []NetworkID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.entries))
}

// load enters a record of the store.
func (m *portMemory) load(p store.Pair) error {
	r, err := decodePorts(p.Value)
	if err != nil {
		return err
	}
	if p.Key != store.LocalPortsKey(string(r.Network), r.Address.String()) {
		return fmt.Errorf("record of ports of %s on network %s has another's key", r.Address, r.Network.Short())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = max(m.last, r.Number)
	m.enterLocked(r.Network, r.Address, memory{r.Number, r.Ports})
	return nil
}

func (m *portMemory) enterLocked(network NetworkID, addr netip.Addr, entry memory) {
	m.dropLocked(network, addr)
	if m.entries[network] == nil {
		m.entries[network] = make(map[netip.Addr]memory)
	}
	m.entries[network][addr] = entry
	for _, b := range entry.ports {
		m.owners[portNumber{b.Protocol, b.HostPort}]++
	}
}

func (m *portMemory) dropLocked(network NetworkID, addr netip.Addr) {
	for _, b := range m.entries[network][addr].ports {
		n := portNumber{b.Protocol, b.HostPort}
		if m.owners[n]--; m.owners[n] <= 0 {
			delete(m.owners, n)
		}
	}
	delete(m.entries[network], addr)
}

// portNumbers returns those of the bindings that have that port of the host.
func portNumbers(bindings []Binding, n portNumber) []Binding {
	return slices.DeleteFunc(slices.Clone(bindings), func(b Binding) bool {
		return portNumber{b.Protocol, b.HostPort} != n
	})
}

// owner returns the address that a container is known by.
func owner(ep Endpoint) (netip.Addr, bool) {
	addrs := ep.Addrs()
	if len(addrs) == 0 {
		return netip.Addr{}, false
	}
	return addrs[0], true
}
