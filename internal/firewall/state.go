package firewall

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// state is a [State] that can be changed piece by piece.
type state struct {
	networks map[string]Network // by bridge
	ports    map[hostPort]Port
	open     map[element]int   // how many ports have the same one
	sources  map[string]Source // by device
	engine   []string          // sorted
	underlay Underlay
	// told says that it is all that its table wants, and not what came so far.
	told bool
}

// hostPort is what can be published once: a port of the host, or one of a container
// that is only open.
type hostPort struct {
	protocol uint8
	addr     netip.Addr
	port     uint16
	inner    bool
}

func (p Port) key() hostPort {
	if p.HostPort == 0 {
		return hostPort{p.Protocol, p.Addr, p.Port, true}
	}
	return hostPort{p.Protocol, p.HostAddr, p.HostPort, false}
}

func newState() state {
	return state{
		networks: make(map[string]Network), ports: make(map[hostPort]Port), open: make(map[element]int),
		sources: make(map[string]Source),
	}
}

func stateFrom(want State) (state, error) {
	s := newState()
	for _, n := range want.Networks {
		if err := n.check(); err != nil {
			return state{}, err
		}
		s.networks[n.Bridge] = n
	}
	if _, err := s.addPorts(want.Ports); err != nil {
		return state{}, err
	}
	for _, src := range want.Sources {
		if err := src.check(); err != nil {
			return state{}, err
		}
		s.sources[src.Device] = src
	}
	if err := want.Underlay.check(); err != nil {
		return state{}, err
	}
	s.engine, s.underlay = sortedUnique(want.EngineBridges), want.Underlay
	return s, nil
}

// delta is what to change in the kernel's sets: remove first, then add.
type delta struct{ remove, add []element }

func (s *state) addNetwork(n Network) (delta, error) {
	if err := n.check(); err != nil {
		return delta{}, err
	}
	n.Subnets, n.Trusted = slices.Clone(n.Subnets), slices.Clone(n.Trusted)
	before := s.networkElements()
	s.networks[n.Bridge] = n
	return difference(before, s.networkElements()), nil
}

func (s *state) removeNetwork(bridge string) delta {
	before := s.networkElements()
	delete(s.networks, bridge)
	return difference(before, s.networkElements())
}

func (s *state) setEngineBridges(bridges []string) delta {
	before := s.engineElements()
	s.engine = sortedUnique(bridges)
	return difference(before, s.engineElements())
}

func (s *state) addPorts(ports []Port) (delta, error) {
	for _, p := range ports {
		if err := checkPort(p); err != nil {
			return delta{}, err
		}
	}
	var d delta
	for _, p := range ports {
		old, ok := s.ports[p.key()]
		if ok && old != p {
			d.remove = append(d.remove, s.dropPort(old)...)
		}
		if !ok || old != p {
			s.putPort(p)
		}
		// Also if it is there already: the kernel does not mind, and an error
		// tells that the table is gone.
		d.add = append(d.add, portElements(p)...)
	}
	return d, nil
}

func (s *state) putPort(p Port) {
	s.ports[p.key()] = p
	if p.Open {
		s.open[openElement(p)]++
	}
}

// dropPort returns the elements that nothing needs any more: a container's port may
// be published on several of the host's, but is open only once.
func (s *state) dropPort(p Port) []element {
	delete(s.ports, p.key())
	elements := portElements(p)
	if !p.Open {
		return elements
	}
	open := openElement(p)
	if s.open[open]--; s.open[open] > 0 {
		return slices.DeleteFunc(elements, func(e element) bool { return e == open })
	}
	delete(s.open, open)
	return elements
}

func (s *state) removePorts(ports []Port) delta {
	var d delta
	for _, p := range ports {
		if s.ports[p.key()] == p {
			d.remove = append(d.remove, s.dropPort(p)...)
		}
	}
	return d
}

// elements returns everything that the sets should hold.
func (s *state) elements() []element {
	out := append(s.networkElements(), s.engineElements()...)
	for _, p := range s.ports {
		if p.HostPort != 0 {
			out = append(out, portElement(p))
		}
	}
	for _, src := range s.sources {
		out = append(out, src.elements()...)
	}
	out = append(out, s.underlay.elements()...)
	out = slices.AppendSeq(out, maps.Keys(s.open))
	return out
}

// networkElements says what the networks are in the sets. Two networks may bring
// the same element, so that it must stay until both are gone.
func (s *state) networkElements() []element {
	var out []element
	for _, bridge := range slices.Sorted(maps.Keys(s.networks)) {
		n := s.networks[bridge]
		out = append(out, deviceElement(setBridges, bridge), pairElement(setSame, bridge, bridge))
		if n.ICC {
			out = append(out, deviceElement(setICC, bridge))
		}
		out = append(out, n.tunnelElements()...)
		if n.Internal {
			out = append(out, deviceElement(setInternal, bridge))
			continue
		}
		out = append(out, n.gatewayElements()...)
	}
	return out
}

func (s *state) engineElements() []element {
	var out []element
	for _, b := range s.engine {
		out = append(out, deviceElement(setEngine, b))
	}
	return out
}

// difference says how to get from the elements before to those after.
func difference(before, after []element) delta {
	have, want := elementSet(before), elementSet(after)
	var d delta
	for _, e := range before {
		if _, ok := want[e]; !ok {
			d.remove = append(d.remove, e)
		}
	}
	for _, e := range after {
		if _, ok := have[e]; !ok {
			d.add = append(d.add, e)
		}
	}
	return d
}

func elementSet(list []element) map[element]struct{} {
	set := make(map[element]struct{}, len(list))
	for _, e := range list {
		set[e] = struct{}{}
	}
	return set
}

func checkPort(p Port) error {
	if p.HostAddr.Is4() != p.Addr.Is4() || !p.HostAddr.IsValid() || !p.Addr.IsValid() || p.HostAddr.Is4In6() || p.Addr.Is4In6() {
		return fmt.Errorf("published port %s to %s: the addresses are not of one family",
			netip.AddrPortFrom(p.HostAddr, p.HostPort), netip.AddrPortFrom(p.Addr, p.Port))
	}
	if p.HostPort == 0 && !p.Open || p.Port == 0 {
		return fmt.Errorf("published port %s to %s: no port is 0",
			netip.AddrPortFrom(p.HostAddr, p.HostPort), netip.AddrPortFrom(p.Addr, p.Port))
	}
	return nil
}

func checkDevice(name string) error {
	if name == "" || len(name) >= deviceLen {
		return fmt.Errorf("device name %q: want 1 to %d bytes", name, deviceLen-1)
	}
	return nil
}

func sortedUnique(list []string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}
