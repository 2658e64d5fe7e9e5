package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/port"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/link"
)

// Publish holds the host ports of ep.Bindings and sends what comes there to the
// container. It returns the bindings as bound, one for each host address.
func (d *Driver) Publish(ctx context.Context, n driver.Network, ep driver.Endpoint, former driver.Former) ([]driver.Binding, error) {
	published, err := d.holdAll(n, ep, former)
	if err != nil {
		return nil, err
	}
	ep.Published = published
	if err := d.dev.SetHairpin(port.HostSide(ep.ID), true); err != nil {
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
// container that has the port now, if any. A TCP client learns from a reset, which
// the host sends once Leave has made the kernel forget the flow.
func (d *Driver) forgetFlows(published []firewall.Port, gone bool) {
	var ports []link.HostPort
	for _, p := range published {
		if driver.Protocol(p.Protocol) == driver.TCP || p.HostPort == 0 {
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

func (d *Driver) release(bindings []driver.Binding) error {
	var errs []error
	for _, b := range held(bindings) {
		errs = append(errs, d.ports.Release(uint8(b.Protocol), b.HostAddr, b.HostPort))
	}
	return errors.Join(errs...)
}

// held leaves out published ports that take none of the host.
func held(published []driver.Binding) []driver.Binding {
	return slices.DeleteFunc(slices.Clone(published), func(b driver.Binding) bool { return b.HostPort == 0 })
}
