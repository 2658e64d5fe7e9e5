package overlay

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/port"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/link"
)

// Reconcile brings rules, bridges, tunnels, interfaces and tables to what want and the
// peers say. It takes all turns, so that what it reads stays true until it is done.
func (d *Driver) Reconcile(ctx context.Context, want []driver.Attached, unreadable []driver.NetworkID) ([]string, error) {
	done, err := d.turns.Take(ctx, allNetworks)
	if err != nil {
		return nil, err
	}
	defer done()
	want = slices.DeleteFunc(slices.Clone(want), func(a driver.Attached) bool { return a.Network.Overlay == nil })
	var (
		repairs []string
		errs    []error
	)
	note := func(did []string, err error) {
		repairs = append(repairs, did...)
		if err != nil {
			errs = append(errs, err)
		}
	}
	note(d.setRules(ctx, want))
	for _, a := range want {
		note(d.ensureDevices(a.Network))
	}
	links, err := d.dev.Links()
	if err != nil {
		return repairs, errors.Join(append(errs, fmt.Errorf("list devices: %w", err))...)
	}
	byName := make(map[string]link.Link, len(links))
	for _, l := range links {
		byName[l.Name] = l
	}
	for _, a := range want {
		local, did, err := d.repairInterfaces(a, byName)
		note(did, err)
		d.replaceLocal(a.Network.ID, local)
	}
	note(port.RemoveOrphans(d.dev, port.Wanted{
		Prefix: d.aliasPrefix(), Kinds: []string{"bridge", "vxlan"}, Networks: want, Unreadable: unreadable,
		Devices: func(n driver.Network) []string { return []string{tunnelName(n), port.BridgeName(n.ID)} },
	}, links))
	d.forget(want)
	note(d.compareAll(want))
	return repairs, errors.Join(errs...)
}

// replaceLocal says which endpoints are on this host.
func (d *Driver) replaceLocal(id driver.NetworkID, local []driver.Endpoint) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tables[id]
	if t == nil {
		return
	}
	clear(t.local)
	for _, ep := range local {
		t.local[ep.ID] = ep
	}
}

// compareAll compares all tables with the kernel.
func (d *Driver) compareAll(want []driver.Attached) ([]string, error) {
	if len(want) == 0 {
		return nil, nil
	}
	all, err := d.dev.Entries()
	if err != nil {
		return nil, err
	}
	var (
		repairs []string
		errs    []error
	)
	for _, a := range want {
		if d.known(a.Network.ID) == nil {
			continue // its devices could not be made, which was said already
		}
		did, err := d.compare(a.Network, all)
		repairs = append(repairs, did...)
		errs = append(errs, err)
	}
	return repairs, errors.Join(errs...)
}

// forget drops the tables of networks that are no more.
func (d *Driver) forget(want []driver.Attached) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.tables {
		if !slices.ContainsFunc(want, func(a driver.Attached) bool { return a.Network.ID == id }) {
			delete(d.tables, id)
		}
	}
}

// setRules brings the rules to what the records and the peers say.
func (d *Driver) setRules(ctx context.Context, want []driver.Attached) ([]string, error) {
	done, err := d.turns.Take(ctx, allHosts)
	if err != nil {
		return nil, err
	}
	defer done()
	return d.rules.Set(ctx, d.wantState(want))
}

// wantState says what the packet filter should hold as a whole.
func (d *Driver) wantState(want []driver.Attached) firewall.State {
	s := firewall.State{Sources: port.Sources(want), Underlay: d.underlay()}
	for _, a := range want {
		s.Networks = append(s.Networks, wantRules(a.Network, d.opts.Port))
	}
	return s
}
