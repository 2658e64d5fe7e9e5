package bridge

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ournet/ournet/driver"
)

// portTries bounds the search for a port that is free on IPv4 and IPv6 alike, and
// that no other container had.
const portTries = 16

// choice is who chooses the host port of a binding; those that leave less of a choice
// come first, so that none of a container's own ports is in the way of another.
type choice int

const (
	choiceNone choice = iota
	choiceRange
	choiceAny
)

func choiceOf(b driver.Binding) choice {
	switch {
	case b.HostPort == 0:
		return choiceAny
	case b.HostPortEnd > b.HostPort:
		return choiceRange
	default:
		return choiceNone
	}
}

// holdAll holds the host ports of all of an endpoint's bindings, or none.
func (d *Driver) holdAll(n driver.Network, ep driver.Endpoint, former driver.Former) ([]driver.Binding, error) {
	if former.Others == nil {
		former.Others = func(driver.Protocol, uint16) bool { return false }
	}
	former.Own = slices.Clone(former.Own)
	bindings := slices.Clone(ep.Bindings)
	slices.SortStableFunc(bindings, func(a, b driver.Binding) int { return cmp.Compare(choiceOf(a), choiceOf(b)) })
	var published []driver.Binding
	for _, b := range bindings {
		addrs, err := hostAddrs(n, ep, b)
		if err == nil {
			addrs, published = openRouted(n, b, addrs, published)
			// What is asked for twice is published once.
			addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool {
				return choiceOf(b) == choiceNone && slices.Contains(published, boundTo(b, a, b.HostPort))
			})
			var bound []driver.Binding
			bound, err = d.hold(b, addrs, &former)
			published = append(published, bound...)
		}
		if err != nil {
			return nil, errors.Join(err, d.release(published))
		}
	}
	return published, nil
}

// openRouted publishes a binding where the gateway is routed, which takes no port of
// the host, and returns the addresses where it does. The address and the port that the
// user gave have no effect then, nor have they with the built-in bridge (moby
// daemon/libnetwork/drivers/bridge, configurePortBindingIPv4).
func openRouted(n driver.Network, b driver.Binding, addrs []netip.Addr, published []driver.Binding) ([]netip.Addr, []driver.Binding) {
	var rest []netip.Addr
	for _, a := range addrs {
		if !routed(n, a.Is6()) {
			rest = append(rest, a)
			continue
		}
		every := netip.IPv4Unspecified()
		if a.Is6() {
			every = netip.IPv6Unspecified()
		}
		if open := boundTo(b, every, 0); !slices.Contains(published, open) {
			published = append(published, open)
		}
	}
	return rest, published
}

// hold takes one binding's host port on every address, the same port on each.
func (d *Driver) hold(b driver.Binding, addrs []netip.Addr, former *driver.Former) ([]driver.Binding, error) {
	if len(addrs) == 0 {
		return nil, nil
	}
	port := takeFormer(former, b, addrs)
	if choiceOf(b) == choiceNone {
		return d.holdAt(b, addrs, b.HostPort)
	}
	if port != 0 {
		bound, err := d.holdAt(b, addrs, port)
		if !errors.Is(err, unix.EADDRINUSE) {
			return bound, err
		}
	}
	if choiceOf(b) == choiceRange {
		return d.holdInRange(b, addrs, former)
	}
	return d.holdAny(b, addrs, former)
}

// takeFormer returns the host port that the container had for a binding, 0 for none.
// It is taken out of what it had: a port of a container may be published twice.
func takeFormer(former *driver.Former, b driver.Binding, addrs []netip.Addr) uint16 {
	i := slices.IndexFunc(former.Own, func(had driver.Binding) bool {
		fits := b.HostPort == 0 || b.HostPort <= had.HostPort && had.HostPort <= b.HostPortEnd
		return fits && had.Protocol == b.Protocol && had.Port == b.Port && had.HostAddr == addrs[0]
	})
	if i < 0 {
		return 0
	}
	port := former.Own[i].HostPort
	former.Own = slices.DeleteFunc(former.Own, func(had driver.Binding) bool {
		return had.Protocol == b.Protocol && had.Port == b.Port && had.HostPort == port && slices.Contains(addrs, had.HostAddr)
	})
	return port
}

// holdInRange takes the first free port of a range that no other container had, or,
// if there is none, the first free one.
func (d *Driver) holdInRange(b driver.Binding, addrs []netip.Addr, former *driver.Former) ([]driver.Binding, error) {
	for _, others := range []bool{false, true} {
		for port := int(b.HostPort); port <= int(b.HostPortEnd); port++ {
			p := uint16(port) //nolint:gosec // it is between two of 16 bits
			if former.Others(b.Protocol, p) != others {
				continue
			}
			bound, err := d.holdAt(b, addrs, p)
			if !errors.Is(err, unix.EADDRINUSE) {
				return bound, err
			}
		}
	}
	return nil, fmt.Errorf("publish port %d/%s: host ports %d to %d are all taken: %w",
		b.Port, b.Protocol, b.HostPort, b.HostPortEnd, unix.EADDRINUSE)
}

// holdAny takes a port of the kernel's choice, one that another container had only if
// no other is found. Those that will not do stay held meanwhile, so that the kernel
// chooses others.
func (d *Driver) holdAny(b driver.Binding, addrs []netip.Addr, former *driver.Former) (bound []driver.Binding, err error) {
	var others, unfit []driver.Binding
	defer func() { err = errors.Join(err, d.release(others), d.release(unfit)) }()
	for range portTries {
		var first driver.Binding
		if first, err = d.holdOne(b, addrs[0], 0); err != nil {
			break
		}
		if former.Others(first.Protocol, first.HostPort) {
			others = append(others, first)
			continue
		}
		if bound, err = d.holdRest(first, addrs); err == nil {
			return bound, nil
		}
		unfit = append(unfit, first)
	}
	for i, first := range others {
		if bound, err = d.holdRest(first, addrs); err == nil {
			others = slices.Delete(others, i, i+1)
			return bound, nil
		}
	}
	return nil, err
}

// holdRest takes the port that is held on the first address on the others as well.
func (d *Driver) holdRest(first driver.Binding, addrs []netip.Addr) ([]driver.Binding, error) {
	rest, err := d.holdAt(first, addrs[1:], first.HostPort)
	if err != nil {
		return nil, err
	}
	return append([]driver.Binding{first}, rest...), nil
}

// holdAt takes that port on every address, or none.
func (d *Driver) holdAt(b driver.Binding, addrs []netip.Addr, port uint16) ([]driver.Binding, error) {
	var bound []driver.Binding
	for _, addr := range addrs {
		one, err := d.holdOne(b, addr, port)
		if err != nil {
			return nil, errors.Join(err, d.release(bound))
		}
		bound = append(bound, one)
	}
	return bound, nil
}

func (d *Driver) holdOne(b driver.Binding, addr netip.Addr, port uint16) (driver.Binding, error) {
	port, err := d.ports.Hold(uint8(b.Protocol), addr, port)
	if err != nil {
		return driver.Binding{}, fmt.Errorf("publish port %d/%s: %w", b.Port, b.Protocol, err)
	}
	return boundTo(b, addr, port), nil
}

// boundTo is a binding that has got its address and port of the host.
func boundTo(b driver.Binding, addr netip.Addr, port uint16) driver.Binding {
	b.HostAddr, b.HostPort, b.HostPortEnd = addr, port, port
	return b
}

// hostAddrs returns the one or two host addresses that a binding is for.
func hostAddrs(n driver.Network, ep driver.Endpoint, b driver.Binding) ([]netip.Addr, error) {
	has4, has6 := ep.Address.IsValid(), ep.AddressIPv6.IsValid()
	if b.HostAddr.IsValid() {
		if b.HostAddr.Is4() && !has4 || b.HostAddr.Is6() && !has6 {
			return nil, fmt.Errorf("publish port %d/%s on %s: the container has no address of that family on network %s",
				b.Port, b.Protocol, b.HostAddr, n.ID.Short())
		}
		if b.HostAddr == netip.IPv6Loopback() {
			// IPv6 has nothing like route_localnet: the answers could not come back.
			return nil, fmt.Errorf("publish port %d/%s on %s: what is sent to it cannot leave the host; use 127.0.0.1 or another address",
				b.Port, b.Protocol, b.HostAddr)
		}
		return []netip.Addr{b.HostAddr}, nil
	}
	every := netip.IPv4Unspecified()
	if n.Options.HostBindingIPv4.IsValid() {
		every = n.Options.HostBindingIPv4
	}
	var addrs []netip.Addr
	if has4 && every.Is4() || has6 && every.Is6() {
		addrs = append(addrs, every)
	}
	// Who names one IPv4 address, 127.0.0.1 say, does not mean every IPv6 address
	// as well; nor does the engine take it so (configurePortBindingIPv6).
	if has6 && every == netip.IPv4Unspecified() {
		addrs = append(addrs, netip.IPv6Unspecified())
	}
	switch {
	case len(addrs) == 0 && (has4 || has6):
		return nil, fmt.Errorf("publish port %d/%s on %s (%s): the container has no address of that family on network %s; name another address of the host",
			b.Port, b.Protocol, every, driver.OptHostBindingIPv4, n.ID.Short())
	case len(addrs) == 0:
		return nil, fmt.Errorf("publish port %d/%s: the container has no address on network %s",
			b.Port, b.Protocol, n.ID.Short())
	}
	return addrs, nil
}
