package overlay

import (
	"context"
	"errors"
	"fmt"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/port"
	"github.com/ournet/ournet/internal/link"
)

// Check reports why n cannot be made beside have.
func (d *Driver) Check(n driver.Network, have []driver.Network) error {
	if n.Overlay == nil {
		return fmt.Errorf("%w %s=%s: it needs a cluster; set CLUSTER_STORE", driver.ErrOption, driver.OptType, driver.TypeOverlay)
	}
	if len(n.Subnets) == 0 {
		return fmt.Errorf("%w: an overlay network needs a subnet", driver.ErrOption)
	}
	if err := port.CheckMTU(n, n.Overlay.MTU); err != nil {
		return err
	}
	for _, other := range have {
		if other.Overlay != nil && other.Overlay.VNI == n.Overlay.VNI {
			return fmt.Errorf("VNI %d is %w by network %s; choose another %s, or leave it out",
				n.Overlay.VNI, driver.ErrInUse, other.ID.Short(), driver.OptVNI)
		}
		if err := port.CheckSubnets(n, other); err != nil {
			return err
		}
	}
	return nil
}

// EnsureNetwork makes the network's bridge, VXLAN device and rules, and tells them of
// the other hosts. A subnet that a route of this host covers already is refused, and
// so is an MTU that does not pass this host's underlay.
func (d *Driver) EnsureNetwork(ctx context.Context, n driver.Network) error {
	done, err := d.takeNetwork(ctx, n.ID)
	if err != nil {
		return err
	}
	defer done()
	if _, err := d.FitMTU(n.Overlay.MTU); err != nil {
		return err
	}
	routes, err := d.dev.Routes()
	if err != nil {
		return fmt.Errorf("read routes: %w", err)
	}
	if err := port.CheckRoutes(n, port.BridgeName(n.ID), routes); err != nil {
		return err
	}
	// The rules first, so that the first packet is judged.
	if err := d.RefreshHosts(ctx); err != nil {
		return fmt.Errorf("network %s: %w", n.ID.Short(), err)
	}
	if err := d.rules.AddNetwork(ctx, wantRules(n, d.opts.Port)); err != nil {
		return fmt.Errorf("set rules of network %s: %w", n.ID.Short(), err)
	}
	if _, err := d.ensureDevices(n); err != nil {
		return err
	}
	return d.update(n)
}

// ensureDevices makes the bridge, the VXLAN device and the network's table, and
// returns what was not as it should be.
func (d *Driver) ensureDevices(n driver.Network) (repaired []string, err error) {
	own, err := d.vtep()
	if err != nil {
		return nil, err
	}
	bridge := wantBridge(n, d.alias(n.ID))
	got, err := d.dev.EnsureBridge(bridge)
	if err != nil {
		return nil, fmt.Errorf("ensure bridge %s: %w", bridge.Name, err)
	}
	if what := changed(got); what != "" {
		repaired = append(repaired, fmt.Sprintf("bridge %s of network %s was %s", bridge.Name, n.ID.Short(), what))
	}
	tunnel := wantVXLAN(n, own, d.opts.Port, d.alias(n.ID))
	got, err = d.dev.EnsureVXLAN(tunnel)
	if err != nil {
		return repaired, d.explain(err, tunnel)
	}
	if what := changed(got); what != "" {
		repaired = append(repaired, fmt.Sprintf("tunnel %s of network %s was %s", tunnel.Name, n.ID.Short(), what))
	}
	if _, err := d.makeTable(n); err != nil {
		return repaired, fmt.Errorf("network %s: %w", n.ID.Short(), err)
	}
	return repaired, nil
}

func changed(got link.Ensured) string {
	switch {
	case got.Created:
		return "missing"
	case got.Changed:
		return "changed"
	}
	return ""
}

// explain says what a user can do about a tunnel that cannot be made.
func (d *Driver) explain(err error, tunnel link.VXLAN) error {
	switch {
	case errors.Is(err, link.ErrPortTaken):
		return fmt.Errorf("UDP port %d is %w by another program of this host; stop it, or set another VXLAN_PORT on all hosts: %w",
			tunnel.Port, driver.ErrInUse, err)
	case errors.Is(err, link.ErrVNITaken):
		return fmt.Errorf("VNI %d is %w on this host by something that is not of ournet; choose another %s: %w",
			tunnel.VNI, driver.ErrInUse, driver.OptVNI, err)
	}
	return fmt.Errorf("ensure tunnel: %w", err)
}

// RemoveNetwork removes the tunnel, the bridge and the rules.
func (d *Driver) RemoveNetwork(ctx context.Context, n driver.Network) error {
	done, err := d.takeNetwork(ctx, n.ID)
	if err != nil {
		return err
	}
	defer done()
	d.mu.Lock()
	delete(d.tables, n.ID)
	d.mu.Unlock()
	var errs []error
	for _, name := range []string{tunnelName(n), port.BridgeName(n.ID)} {
		errs = append(errs, d.deleteOwn(n, name))
	}
	if err := d.rules.RemoveNetwork(ctx, port.BridgeName(n.ID)); err != nil {
		errs = append(errs, fmt.Errorf("remove rules of network %s: %w", n.ID.Short(), err))
	}
	return errors.Join(errs...)
}

// deleteOwn removes a device, if it is this network's.
func (d *Driver) deleteOwn(n driver.Network, name string) error {
	l, err := d.dev.Link(name)
	if errors.Is(err, link.ErrNotFound) {
		return nil
	}
	if err == nil && l.Alias == d.alias(n.ID) {
		err = d.dev.Delete(name)
	}
	if err != nil {
		return fmt.Errorf("remove %s of network %s: %w", name, n.ID.Short(), err)
	}
	return nil
}
