package overlay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/port"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/link"
)

const (
	// allNetworks is the turn that the work on one network shares, and that on all takes.
	allNetworks = "all networks"
	// allHosts is the turn to tell the rules which hosts there are, taken after those of
	// networks: what was known before it may not be so any more.
	allHosts = "all hosts"
)

// table is what the bridge and the VXLAN device of a network were told.
type table struct {
	// local are the endpoints on this host.
	local map[driver.EndpointID]driver.Endpoint
	// applied is what was put last; nil if that is not known. It is replaced before the
	// kernel is told, so that news of the kernel can be told from changes by others.
	applied map[key]link.Entry
	// bridge and tunnel are the indices of the two devices.
	bridge, tunnel int
}

// takeNetwork waits for the only turn at a network's table.
func (d *Driver) takeNetwork(ctx context.Context, id driver.NetworkID) (func(), error) {
	all, err := d.turns.Share(ctx, allNetworks)
	if err != nil {
		return nil, err
	}
	one, err := d.turns.Take(ctx, string(id))
	if err != nil {
		all()
		return nil, err
	}
	return func() { one(); all() }, nil
}

// Refresh brings what others told of a network to its tables, at the cost of what is
// new. A network that is not here is none of ours, which is fine.
func (d *Driver) Refresh(ctx context.Context, n driver.Network) error {
	if n.Overlay == nil {
		return nil
	}
	done, err := d.takeNetwork(ctx, n.ID)
	if err != nil {
		return err
	}
	defer done()
	if d.known(n.ID) == nil {
		return nil
	}
	return d.update(n)
}

// RefreshHosts lets in what the hosts of the cluster send that are known now, and
// nobody else.
func (d *Driver) RefreshHosts(ctx context.Context) error {
	done, err := d.turns.Take(ctx, allHosts)
	if err != nil {
		return err
	}
	defer done()
	if err := d.rules.SetUnderlay(ctx, d.underlay()); err != nil {
		return fmt.Errorf("let in the hosts of the cluster: %w", err)
	}
	return nil
}

func (d *Driver) underlay() firewall.Underlay {
	vteps := d.peers.VTEPs()
	if own := d.opts.VTEP(); own.IsValid() {
		vteps = append(slices.Clone(vteps), own.Unmap())
	}
	return firewall.Underlay{Port: d.opts.Port, VTEPs: vteps}
}

// known returns a network's table, nil if there is none.
func (d *Driver) known(id driver.NetworkID) *table {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tables[id]
}

// makeTable returns a network's table, a new one if there is none or its devices are
// others than they were.
func (d *Driver) makeTable(n driver.Network) (*table, error) {
	bridge, err := d.dev.Link(port.BridgeName(n.ID))
	if err != nil {
		return nil, err
	}
	tunnel, err := d.dev.Link(tunnelName(n))
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tables[n.ID]
	if t == nil {
		t = &table{local: make(map[driver.EndpointID]driver.Endpoint)}
		d.tables[n.ID] = t
	}
	if t.bridge != bridge.Index || t.tunnel != tunnel.Index {
		t.bridge, t.tunnel, t.applied = bridge.Index, tunnel.Index, nil
	}
	return t, nil
}

// update brings a network's tables to what is wanted now. The caller has the turn.
func (d *Driver) update(n driver.Network) error {
	_, err := d.compare(n, nil)
	return err
}

// compare is update that looks at what the kernel has, all by device, and returns what
// somebody else had changed. Without all the kernel is asked only if it is not known
// what was put last.
func (d *Driver) compare(n driver.Network, all map[string][]link.Entry) (changed []string, err error) {
	own, err := d.vtep()
	if err != nil {
		return nil, err
	}
	t := d.known(n.ID)
	if all == nil && t.applied == nil {
		if all, err = d.dev.Entries(); err != nil {
			return nil, fmt.Errorf("network %s: %w", n.ID.Short(), err)
		}
	}
	d.mu.Lock()
	local := slices.Collect(maps.Values(t.local))
	before := t.applied
	d.mu.Unlock()
	want := wantEntries(view{
		network: n, own: own, local: local,
		members: d.peers.Members(n.Overlay.Cluster), peers: d.peers.Peers(n.Overlay.Cluster),
	})
	have := before
	if all != nil {
		have = entriesOf(n, local, all)
		if before == nil {
			before = want
		}
		changed = describe(n, have, before)
	}
	d.mu.Lock()
	t.applied = want
	d.mu.Unlock()
	put, take := difference(have, want)
	if err := d.apply(put, take); err != nil {
		d.mu.Lock()
		t.applied = nil
		d.mu.Unlock()
		return changed, fmt.Errorf("network %s: %w", n.ID.Short(), err)
	}
	return changed, nil
}

func (d *Driver) apply(put, take []link.Entry) error {
	var errs []error
	for _, e := range put {
		errs = append(errs, d.dev.Put(e))
	}
	for _, e := range take {
		errs = append(errs, d.dev.Take(e))
	}
	return errors.Join(errs...)
}

// entriesOf picks out a network's entries: those of its two devices, and of the ports
// that its containers have.
func entriesOf(n driver.Network, local []driver.Endpoint, all map[string][]link.Entry) map[key]link.Entry {
	devices := []string{port.BridgeName(n.ID), tunnelName(n)}
	for _, ep := range local {
		devices = append(devices, port.HostSide(ep.ID))
	}
	have := make(map[key]link.Entry)
	for _, name := range devices {
		for _, e := range all[name] {
			have[keyOf(e)] = e
		}
	}
	return have
}

// describe says in a line or two how the tables differ from what was put.
func describe(n driver.Network, have, want map[key]link.Entry) []string {
	missing, left := difference(have, want)
	var lines []string
	for _, l := range []struct {
		what string
		list []link.Entry
	}{{"missing or changed", missing}, {"left over", left}} {
		if len(l.list) == 0 {
			continue
		}
		least := slices.MinFunc(l.list, func(a, b link.Entry) int { return compareText(a.String(), b.String()) })
		line := fmt.Sprintf("entry %q of network %s was %s", least.String(), n.ID.Short(), l.what)
		if more := len(l.list) - 1; more > 0 {
			line += fmt.Sprintf(", and %d more", more)
		}
		lines = append(lines, line)
	}
	return lines
}

func compareText(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}
