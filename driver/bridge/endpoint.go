package bridge

import (
	"context"
	"fmt"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/port"
)

// Join makes the endpoint's veth pair: one end a port of the bridge, the other
// for the engine to move into the sandbox.
func (d *Driver) Join(ctx context.Context, n driver.Network, ep driver.Endpoint) (driver.Attachment, error) {
	if err := d.forward(n); err != nil {
		return driver.Attachment{}, err
	}
	isolated, err := d.isolated(n)
	if err != nil {
		return driver.Attachment{}, err
	}
	// Before there is an interface, so that its first frame is judged.
	if src, ok := port.Source(n, ep); ok {
		if err := d.rules.AddSource(ctx, src); err != nil {
			return driver.Attachment{}, fmt.Errorf("endpoint %s: %w", ep.ID.Short(), err)
		}
	}
	if err := d.dev.EnsureVeth(wantVeth(n, ep, isolated)); err != nil {
		return driver.Attachment{}, fmt.Errorf("make the interface of endpoint %s: %w", ep.ID.Short(), err)
	}
	return attachment(n, ep), nil
}

// attachment says what the engine needs to know of the endpoint's interface.
func attachment(n driver.Network, ep driver.Endpoint) driver.Attachment {
	att := port.Attachment(n, ep)
	if !n.OwnGateway() {
		return att
	}
	if ep.Address.IsValid() {
		att.Gateway = n.Gateway(ep.Address.Addr())
	}
	if ep.AddressIPv6.IsValid() {
		att.GatewayIPv6 = n.Gateway(ep.AddressIPv6.Addr())
	}
	return att
}

// Leave removes the veth pair; its other end goes with it, wherever it is. The
// engine would move that end back to the host first if we let it; it only logs
// that it is gone. The kernel forgets its flows, after its ports and its interface are
// gone and before its address can be another's: who still sends to it hears of its
// end, and the next one there gets nothing that was not meant for it.
func (d *Driver) Leave(ctx context.Context, n driver.Network, ep driver.Endpoint) error {
	if err := d.dev.Delete(port.HostSide(ep.ID)); err != nil {
		return fmt.Errorf("remove the interface of endpoint %s: %w", ep.ID.Short(), err)
	}
	if err := d.dev.ForgetAddrs(ep.Addrs()...); err != nil {
		d.log.WithError(err).WithField("endpoint", ep.ID.Short()).Warn("flows of a container outlive it")
	}
	if _, ok := port.Source(n, ep); !ok {
		return nil
	}
	if err := d.rules.RemoveSource(ctx, port.HostSide(ep.ID)); err != nil {
		return fmt.Errorf("endpoint %s: %w", ep.ID.Short(), err)
	}
	return nil
}

// Attached reports whether the endpoint's interface is there, be it in a sandbox or
// still on the host.
func (d *Driver) Attached(ep driver.Endpoint) (bool, error) { return port.Attached(d.dev, ep) }

// Intact reports whether the endpoint's interface is as Join made it, if it is one of
// devices.
func (d *Driver) Intact(n driver.Network, ep driver.Endpoint, devices []string) (bool, error) {
	return port.Intact(d.dev, bridgeName(n), ep, devices)
}
