package bridge

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/port"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/hostport"
	"github.com/ournet/ournet/internal/link"
)

// engineBridge matches the bridges that the engine's built-in driver makes
// (daemon/libnetwork/drivers/bridge, "br-" and 12 digits of the network's id).
var engineBridge = regexp.MustCompile(`^(docker0|docker_gwbridge|br-[0-9a-f]{12})$`)

// Reconcile brings bridges, interfaces, rules and held ports to what want says.
//
// An interface that is missing is made again in the container that had it, as far as
// we know what the engine did there. One whose container is gone is not: its other
// end went with the container's namespace, and the engine makes a new endpoint for
// the next start.
func (d *Driver) Reconcile(ctx context.Context, want []driver.Attached, unreadable []driver.NetworkID) ([]string, error) {
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
	for _, a := range want {
		note(d.repairDevice(a.Network))
	}
	links, err := d.dev.Links()
	if err != nil {
		return repairs, errors.Join(append(errs, fmt.Errorf("list devices: %w", err))...)
	}
	note(d.repairInterfaces(want, links))
	note(port.RemoveOrphans(d.dev, port.Wanted{
		Prefix: d.aliasPrefix(), Kinds: []string{"bridge"}, Networks: want, Unreadable: unreadable,
		Devices: func(n driver.Network) []string { return []string{bridgeName(n)} },
	}, links))
	rules := wantState(want, d.engineBridges(links))
	changed, err := d.rules.Set(ctx, rules)
	note(changed, err)
	if len(changed) > 0 {
		d.forgetFlows(rules.Ports, false) // they may have been judged without rules
	}
	note(nil, d.repairHolds(want))
	return repairs, errors.Join(errs...)
}

func (d *Driver) repairDevice(n driver.Network) ([]string, error) {
	got, err := d.ensureDevice(n)
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", n.ID.Short(), err)
	}
	switch {
	case got.Created:
		return []string{fmt.Sprintf("bridge %s of network %s was missing", bridgeName(n), n.ID.Short())}, nil
	case got.Changed:
		return []string{fmt.Sprintf("bridge %s of network %s was changed", bridgeName(n), n.ID.Short())}, nil
	}
	return nil, nil
}

// repairInterfaces puts host sides that are still there back on their bridge.
func (d *Driver) repairInterfaces(want []driver.Attached, links []link.Link) ([]string, error) {
	byName := make(map[string]link.Link, len(links))
	for _, l := range links {
		byName[l.Name] = l
	}
	var (
		repairs []string
		errs    []error
	)
	for _, a := range want {
		isolated, err := d.isolated(a.Network)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, ep := range a.Endpoints {
			l, ok := byName[port.HostSide(ep.ID)]
			if !ok {
				made, err := d.restore(a.Network, ep, isolated)
				if err != nil {
					errs = append(errs, fmt.Errorf("interface of endpoint %s: %w", ep.ID.Short(), err))
				}
				if made {
					repairs = append(repairs, fmt.Sprintf("interface %s of endpoint %s was missing", port.HostSide(ep.ID), ep.ID.Short()))
				}
				continue
			}
			if l.Master == bridgeName(a.Network) && l.Up {
				if !a.Network.Options.ICC {
					errs = append(errs, d.dev.SetIsolated(l.Name, isolated)) // br_netfilter comes and goes
				}
				continue
			}
			if err := d.repairInterface(a.Network, ep, isolated); err != nil {
				errs = append(errs, fmt.Errorf("put %s back on its bridge: %w", l.Name, err))
				continue
			}
			repairs = append(repairs, fmt.Sprintf("interface %s was off bridge %s", l.Name, bridgeName(a.Network)))
		}
	}
	return repairs, errors.Join(errs...)
}

func (d *Driver) repairInterface(n driver.Network, ep driver.Endpoint, isolated bool) error {
	if err := d.dev.EnsureVeth(wantVeth(n, ep, isolated)); err != nil {
		return err
	}
	if len(ep.Published) == 0 {
		return nil
	}
	return d.dev.SetHairpin(port.HostSide(ep.ID), true) // lost with the bridge
}

// repairHolds holds exactly the host ports that the records say are published: a
// new process holds none, and a verb that failed twice, in what it did and in taking
// it back, may hold too many.
func (d *Driver) repairHolds(want []driver.Attached) error {
	wanted := make(map[hostport.Port]bool)
	for _, a := range want {
		for _, ep := range a.Endpoints {
			for _, b := range held(ep.Published) {
				wanted[hostport.Port{Protocol: uint8(b.Protocol), Addr: b.HostAddr, Port: b.HostPort}] = true
			}
		}
	}
	var errs []error
	for _, p := range d.ports.Held() {
		if !wanted[p] {
			errs = append(errs, d.ports.Release(p.Protocol, p.Addr, p.Port))
		}
	}
	for _, a := range want {
		for _, ep := range a.Endpoints {
			for _, b := range held(ep.Published) {
				if err := d.ports.Ensure(uint8(b.Protocol), b.HostAddr, b.HostPort); err != nil {
					errs = append(errs, fmt.Errorf("endpoint %s: hold %s: %w", ep.ID.Short(), b, err))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// wantState says what the packet filter should hold as a whole.
func wantState(want []driver.Attached, engineBridges []string) firewall.State {
	s := firewall.State{Sources: port.Sources(want)}
	ours := make(map[string]bool)
	for _, a := range want {
		ours[bridgeName(a.Network)] = true
		s.Networks = append(s.Networks, wantRules(a.Network))
		for _, ep := range a.Endpoints {
			s.Ports = append(s.Ports, wantPorts(a.Network, ep)...)
		}
	}
	s.EngineBridges = slices.DeleteFunc(engineBridges, func(name string) bool { return ours[name] })
	return s
}
