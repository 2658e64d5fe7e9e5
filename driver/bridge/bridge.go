// Package bridge makes networks of one host: a Linux bridge per network with the
// gateway's address on it, a veth pair per endpoint, and rules for masquerading,
// isolation and published ports.
//
// What the kernel should hold follows from the records alone, so that making a
// network, repairing it and bringing it back after a boot are the same code. The
// package owns devices that carry its alias and nothing else; it knows nothing of
// other kinds of network, of address allocation or of Docker's protocol.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/port"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/hostport"
	"github.com/ournet/ournet/internal/link"
)

// devices is the part of the kernel that has links and addresses.
type devices interface {
	interfaces
	flows
	EnsureBridge(want link.Bridge) (link.Ensured, error)
	Delete(name string) error
	Link(name string) (link.Link, error)
	Links() ([]link.Link, error)
	Routes() ([]link.Route, error)
}

// flows is what the kernel remembers of packets that belong together.
type flows interface {
	ForgetFlows(ports ...link.HostPort) error
	ForgetAddrs(addrs ...netip.Addr) error
}

// interfaces are the containers' ports of a bridge.
type interfaces interface {
	EnsureVeth(want link.Veth) error
	RestoreVeth(want link.Veth, in link.Inside) (done bool, err error)
	SetHairpin(name string, on bool) error
	SetIsolated(name string, on bool) error
}

// rules is the host's packet filter.
type rules interface {
	AddNetwork(ctx context.Context, n firewall.Network) error
	RemoveNetwork(ctx context.Context, bridge string) error
	AddSource(ctx context.Context, s firewall.Source) error
	RemoveSource(ctx context.Context, device string) error
	AddPorts(ctx context.Context, ports ...firewall.Port) error
	RemovePorts(ctx context.Context, ports ...firewall.Port) error
	Set(ctx context.Context, want firewall.State) (changed []string, err error)
}

// hostPorts holds ports of the host against other programs.
type hostPorts interface {
	Hold(proto uint8, addr netip.Addr, want uint16) (port uint16, err error)
	Ensure(proto uint8, addr netip.Addr, port uint16) error
	Release(proto uint8, addr netip.Addr, port uint16) error
	Held() []hostport.Port
}

// sysctls reads and sets kernel settings by their path under /proc/sys.
type sysctls interface {
	Sysctl(key string) (string, error)
	SetSysctl(key, value string) error
}

// Driver makes bridge networks.
type Driver struct {
	log   logrus.FieldLogger
	name  string
	dev   devices
	rules rules
	ports hostPorts
	sys   sysctls

	neighbours neighbours
}

var (
	_ driver.Driver    = (*Driver)(nil)
	_ driver.Publisher = (*Driver)(nil)
	_ driver.Prober    = (*Driver)(nil)
	_ driver.Minder    = (*Driver)(nil)
)

// Kernel is everything of the host that a [Driver] works on.
type Kernel struct {
	Devices devices
	Rules   rules
	Ports   hostPorts
	Sysctls sysctls
}

// New returns a driver. The instance's name goes into the alias of the devices
// it makes, so that two instances on one host leave each other's alone.
func New(log logrus.FieldLogger, name string, k Kernel) *Driver {
	return &Driver{log: log, name: name, dev: k.Devices, rules: k.Rules, ports: k.Ports, sys: k.Sysctls}
}

// EnsureNetwork makes the network's bridge and rules. A subnet that a route of
// this host covers already is refused, unless the route is the bridge's own.
func (d *Driver) EnsureNetwork(ctx context.Context, n driver.Network) error {
	routes, err := d.dev.Routes()
	if err != nil {
		return fmt.Errorf("read routes: %w", err)
	}
	if err := port.CheckRoutes(n, bridgeName(n), routes); err != nil {
		return err
	}
	if _, err := d.ensureDevice(n); err != nil {
		return err
	}
	if err := d.forward(n); err != nil {
		return err
	}
	if err := d.rules.AddNetwork(ctx, wantRules(n)); err != nil {
		return fmt.Errorf("set rules of network %s: %w", n.ID.Short(), err)
	}
	return nil
}

// RemoveNetwork removes the rules and the bridge. A bridge that was there before
// the network (`-o com.docker.network.bridge.name=br0`) stays.
func (d *Driver) RemoveNetwork(ctx context.Context, n driver.Network) error {
	l, err := d.dev.Link(bridgeName(n))
	var errs []error
	switch {
	case errors.Is(err, link.ErrNotFound):
	case err != nil:
		errs = append(errs, err)
	case l.Alias != d.alias(n.ID):
		// Before the rules go that keep it from being of use to anybody else.
		if err := d.set(unwantSysctls(n)); err != nil {
			errs = append(errs, err)
		}
	}
	if err := d.rules.RemoveNetwork(ctx, bridgeName(n)); err != nil {
		errs = append(errs, fmt.Errorf("remove rules of network %s: %w", n.ID.Short(), err))
	}
	if err == nil && l.Alias == d.alias(n.ID) {
		if err := d.dev.Delete(l.Name); err != nil {
			errs = append(errs, fmt.Errorf("remove bridge %s: %w", l.Name, err))
		}
	}
	return errors.Join(errs...)
}

// ensureDevice makes the bridge and the settings that it needs.
func (d *Driver) ensureDevice(n driver.Network) (link.Ensured, error) {
	want := wantBridge(n, d.alias(n.ID))
	got, err := d.dev.EnsureBridge(want)
	if err != nil {
		return got, fmt.Errorf("ensure bridge %s: %w", want.Name, err)
	}
	return got, d.set(wantSysctls(n))
}

// forward lets the host forward packets. Only verbs do this, not [Driver.Reconcile]
// (see [wantForwarding]).
func (d *Driver) forward(n driver.Network) error { return d.set(wantForwarding(n)) }

func (d *Driver) set(all []sysctl) error {
	for _, s := range all {
		if err := d.sys.SetSysctl(s.key, s.value); err != nil {
			return fmt.Errorf("set %s=%s: %w", s.key, s.value, err)
		}
	}
	return nil
}

// aliasPrefix begins the alias of every device that this instance made.
func (d *Driver) aliasPrefix() string { return "ournet:" + d.name + ":" }

func (d *Driver) alias(id driver.NetworkID) string { return d.aliasPrefix() + string(id) }
