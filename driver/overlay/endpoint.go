package overlay

import (
	"context"
	"errors"
	"fmt"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/port"
	"github.com/ournet/ournet/internal/link"
)

// Join makes the endpoint's veth pair: one end a port of the bridge, the other for the
// engine to move into the sandbox. There is no gateway, so that the engine adds an
// interface on its docker_gwbridge unless the network is internal.
func (d *Driver) Join(ctx context.Context, n driver.Network, ep driver.Endpoint) (driver.Attachment, error) {
	done, err := d.takeNetwork(ctx, n.ID)
	if err != nil {
		return driver.Attachment{}, err
	}
	defer done()
	if d.known(n.ID) == nil {
		if _, err := d.ensureDevices(n); err != nil {
			return driver.Attachment{}, err
		}
	}
	// Before there is an interface, so that its first frame is judged.
	if src, ok := port.Source(n, ep); ok {
		if err := d.rules.AddSource(ctx, src); err != nil {
			return driver.Attachment{}, fmt.Errorf("endpoint %s: %w", ep.ID.Short(), err)
		}
	}
	if err := d.dev.EnsureVeth(wantVeth(n, ep)); err != nil {
		return driver.Attachment{}, fmt.Errorf("make the interface of endpoint %s: %w", ep.ID.Short(), err)
	}
	d.setLocal(n.ID, ep, true)
	if err := d.update(n); err != nil {
		return driver.Attachment{}, fmt.Errorf("endpoint %s: %w", ep.ID.Short(), err)
	}
	return port.Attachment(n, ep), nil
}

// Leave removes the veth pair; its other end goes with it, wherever it is.
func (d *Driver) Leave(ctx context.Context, n driver.Network, ep driver.Endpoint) error {
	done, err := d.takeNetwork(ctx, n.ID)
	if err != nil {
		return err
	}
	defer done()
	d.setLocal(n.ID, ep, false)
	var errs []error
	if d.known(n.ID) != nil {
		errs = append(errs, d.update(n))
	}
	if err := d.dev.Delete(port.HostSide(ep.ID)); err != nil {
		return errors.Join(append(errs, fmt.Errorf("remove the interface of endpoint %s: %w", ep.ID.Short(), err))...)
	}
	// After the interface, so that it is never there unchecked.
	if _, ok := port.Source(n, ep); ok {
		if err := d.rules.RemoveSource(ctx, port.HostSide(ep.ID)); err != nil {
			errs = append(errs, fmt.Errorf("endpoint %s: %w", ep.ID.Short(), err))
		}
	}
	return errors.Join(errs...)
}

// setLocal says whether an endpoint is on this host.
func (d *Driver) setLocal(id driver.NetworkID, ep driver.Endpoint, here bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tables[id]
	switch {
	case t == nil:
	case here:
		t.local[ep.ID] = ep
	default:
		delete(t.local, ep.ID)
	}
}

// Attached reports whether the endpoint's interface is there, be it in a sandbox or
// still on the host.
func (d *Driver) Attached(ep driver.Endpoint) (bool, error) { return port.Attached(d.dev, ep) }

// Intact reports whether the endpoint's interface is as Join made it, if it is one of
// changed.
func (d *Driver) Intact(n driver.Network, ep driver.Endpoint, changed []string) (bool, error) {
	return port.Intact(d.dev, port.BridgeName(n.ID), ep, changed)
}

// restore makes the interface of an endpoint anew in the sandbox that it had joined,
// after somebody deleted it. It reports false if there is none, or no sandbox.
func (d *Driver) restore(n driver.Network, ep driver.Endpoint) (bool, error) {
	if ep.SandboxKey == "" {
		return false, nil
	}
	return d.dev.RestoreVeth(wantVeth(n, ep), port.Inside(ep, port.Attachment(n, ep)))
}

// repairInterfaces puts the host sides of endpoints back on their bridge, makes those
// again that are missing, and returns the endpoints that have one.
func (d *Driver) repairInterfaces(a driver.Attached, byName map[string]link.Link) (local []driver.Endpoint, repairs []string, err error) {
	var errs []error
	bridge := port.BridgeName(a.Network.ID)
	for _, ep := range a.Endpoints {
		name := port.HostSide(ep.ID)
		l, ok := byName[name]
		switch {
		case ok && l.Master == bridge && l.Up:
		case ok:
			if err := d.dev.EnsureVeth(wantVeth(a.Network, ep)); err != nil {
				errs = append(errs, fmt.Errorf("put %s back on its bridge: %w", name, err))
				continue
			}
			repairs = append(repairs, fmt.Sprintf("interface %s was off bridge %s", name, bridge))
		default:
			made, err := d.restore(a.Network, ep)
			if err != nil {
				errs = append(errs, fmt.Errorf("interface of endpoint %s: %w", ep.ID.Short(), err))
			}
			if !made {
				continue
			}
			repairs = append(repairs, fmt.Sprintf("interface %s of endpoint %s was missing", name, ep.ID.Short()))
		}
		local = append(local, ep)
	}
	return local, repairs, errors.Join(errs...)
}
