package plugin

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/ournet/ournet/dns"
	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/bridge"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/link"
	"github.com/ournet/ournet/internal/upstream"
	"github.com/ournet/ournet/plugin/names"
)

// gatewaysOf is what this host has to answer names at the gateways of its networks.
func gatewaysOf(log logrus.FieldLogger, host hostfs.FS, rules *firewall.Table, devices *link.Handle) names.Gateways {
	servers := upstream.New(log, host)
	// passed are those that clients may have to be brought back to.
	var passed []firewall.Resolver
	return names.Gateways{
		Doors: doorsOf,
		Port:  firewall.ResolverPort,
		Lead: func(ctx context.Context, doors []names.Door) error {
			var resolvers []firewall.Resolver
			for _, d := range doors {
				resolvers = append(resolvers, firewall.Resolver{Bridge: d.Device, Addr: d.Addr})
			}
			resumed, err := rules.KeepResolvers(ctx, resolvers)
			passed = append(passed, resumed...)
			if err != nil || len(passed) == 0 {
				return err
			}
			if err := recall(devices, passed); err != nil {
				return err // the next time all of them again
			}
			passed = nil
			return nil
		},
		Servers: func() []dns.Dial { return waysTo(servers) },
	}
}

// recall has clients that went on asking the host itself, from one socket, ask us again.
// What was led to a container that publishes the port is let be.
func recall(devices *link.Handle, passed []firewall.Resolver) error {
	var flows []link.HostPort
	for _, r := range passed {
		flows = append(flows, link.HostPort{
			Protocol: unix.IPPROTO_UDP, Addr: r.Addr, Port: firewall.DNSPort, Only: netip.AddrPortFrom(r.Addr, firewall.DNSPort),
		})
	}
	if err := devices.ForgetFlows(flows...); err != nil {
		return fmt.Errorf("clients that did not pause do not come back: %w", err)
	}
	return nil
}

// doorsOf returns the addresses at which a network can ask its host. On an overlay
// network the host has none.
func doorsOf(n driver.Network) []names.Door {
	if n.Options.Type == driver.TypeOverlay {
		return nil
	}
	var doors []names.Door
	device, addrs := bridge.Gateway(n)
	for _, a := range addrs {
		doors = append(doors, names.Door{Device: device, Addr: a})
	}
	return doors
}

// waysTo returns ways to servers from the namespace of this process, the host's.
func waysTo(servers *upstream.Servers) []dns.Dial {
	var ways []dns.Dial
	for _, server := range servers.List() {
		ways = append(ways, func(ctx context.Context, network string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.String())
		})
	}
	return ways
}
