package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/link"
)

// portTries bounds the search for a port that is free on IPv4 and IPv6 alike.
const portTries = 16

// Publish holds the host ports of ep.Bindings and sends what comes there to the
// container. It returns the bindings as bound, one for each host address.
func (d *Driver) Publish(ctx context.Context, n driver.Network, ep driver.Endpoint) ([]driver.Binding, error) {
	var published []driver.Binding
	for _, b := range ep.Bindings {
		bound, err := d.hold(n, ep, b)
		if err != nil {
			return nil, errors.Join(err, d.release(published))
		}
		published = append(published, bound...)
	}
	ep.Published = published
	if err := d.dev.SetHairpin(hostSide(ep.ID), true); err != nil {
		return nil, errors.Join(err, d.release(published))
	}
	if err := d.rules.AddPorts(ctx, wantPorts(n, ep)...); err != nil {
		// Nor may the packet filter go on wanting them: it would set them the next time.
		return nil, errors.Join(fmt.Errorf("set rules of published ports: %w", err),
			d.rules.RemovePorts(context.WithoutCancel(ctx), wantPorts(n, ep)...), d.release(published))
	}
	d.forgetFlows(wantPorts(n, ep), false)
	return published, nil
}

// forgetFlows has datagrams that clients go on sending without a pause find the
// container that has the port now, if any. A TCP client learns from a reset.
func (d *Driver) forgetFlows(published []firewall.Port, gone bool) {
	var ports []link.HostPort
	for _, p := range published {
		if driver.Protocol(p.Protocol) == driver.TCP {
			continue
		}
		flows := link.HostPort{Protocol: p.Protocol, Addr: p.HostAddr, Port: p.HostPort}
		if !gone {
			flows.Keep = netip.AddrPortFrom(p.Addr, p.Port)
		}
		ports = append(ports, flows)
	}
	if len(ports) == 0 {
		return
	}
	if err := d.dev.ForgetFlows(ports...); err != nil {
		d.log.WithError(err).Warn("clients of a port that go on sending may not reach its container")
	}
}

// Unpublish sends nothing there any more, then lets go of the host ports.
func (d *Driver) Unpublish(ctx context.Context, n driver.Network, ep driver.Endpoint) error {
	if err := d.rules.RemovePorts(ctx, wantPorts(n, ep)...); err != nil {
		return fmt.Errorf("remove rules of published ports: %w", err)
	}
	d.forgetFlows(wantPorts(n, ep), true)
	return d.release(ep.Published)
}

// hold takes one binding's host port on every address it is for, the same port
// on each.
func (d *Driver) hold(n driver.Network, ep driver.Endpoint, b driver.Binding) ([]driver.Binding, error) {
	addrs, err := hostAddrs(n, ep, b)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 1 {
		bound, err := d.holdOne(b, addrs[0], b.HostPort, b.HostPortEnd)
		if err != nil {
			return nil, err
		}
		return []driver.Binding{bound}, nil
	}
	var lastErr error
	next := b.HostPort
	for range portTries {
		first, err := d.holdOne(b, addrs[0], next, b.HostPortEnd)
		if err != nil {
			return nil, errors.Join(err, lastErr)
		}
		second, err := d.holdOne(b, addrs[1], first.HostPort, first.HostPort)
		if err == nil {
			return []driver.Binding{first, second}, nil
		}
		lastErr = errors.Join(err, d.release([]driver.Binding{first}))
		if b.HostPort != 0 {
			if first.HostPort >= b.HostPortEnd {
				break
			}
			next = first.HostPort + 1
		}
	}
	return nil, lastErr
}

func (d *Driver) holdOne(b driver.Binding, addr netip.Addr, first, last uint16) (driver.Binding, error) {
	port, err := d.ports.Hold(uint8(b.Protocol), addr, first, max(first, last))
	if err != nil {
		return driver.Binding{}, fmt.Errorf("publish port %d/%s: %w", b.Port, b.Protocol, err)
	}
	b.HostAddr, b.HostPort, b.HostPortEnd = addr, port, port
	return b, nil
}

func (d *Driver) release(bindings []driver.Binding) error {
	var errs []error
	for _, b := range bindings {
		errs = append(errs, d.ports.Release(uint8(b.Protocol), b.HostAddr, b.HostPort))
	}
	return errors.Join(errs...)
}

// hostAddrs returns the one or two host addresses that a binding is for.
func hostAddrs(n driver.Network, ep driver.Endpoint, b driver.Binding) ([]netip.Addr, error) {
	has4, has6 := ep.Address.IsValid(), ep.AddressIPv6.IsValid()
	if b.HostAddr.IsValid() {
		if b.HostAddr.Is4() && !has4 || b.HostAddr.Is6() && !has6 {
			return nil, fmt.Errorf("publish port %d/%s on %s: the container has no address of that family on network %s",
				b.Port, b.Protocol, b.HostAddr, n.ID.Short())
		}
		return []netip.Addr{b.HostAddr}, nil
	}
	every := netip.IPv4Unspecified()
	if n.Options.HostBindingIPv4.IsValid() {
		every = n.Options.HostBindingIPv4
	}
	var addrs []netip.Addr
	if has4 {
		addrs = append(addrs, every)
	}
	// Who names one IPv4 address, 127.0.0.1 say, does not mean every IPv6 address
	// as well; nor does the engine take it so (configurePortBindingIPv6).
	if has6 && every.IsUnspecified() {
		addrs = append(addrs, netip.IPv6Unspecified())
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("publish port %d/%s: the container has no address on network %s",
			b.Port, b.Protocol, n.ID.Short())
	}
	return addrs, nil
}
