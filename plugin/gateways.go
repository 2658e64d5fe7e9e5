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
	return names.Gateways{
		Doors: doorsOf,
		Port:  firewall.ResolverPort,
		Lead: func(ctx context.Context, doors []names.Door) error {
			var resolvers []firewall.Resolver
			for _, d := range doors {
				resolvers = append(resolvers, firewall.Resolver{Bridge: d.Device, Addr: d.Addr})
			}
			resumed, err := rules.KeepResolvers(ctx, resolvers)
			if err != nil {
				return err
			}
			return recall(devices, resumed)
		},
		Servers: func() []dns.Dial { return waysTo(servers) },
	}
}

// recall has clients that went on asking somebody else, from one socket, ask us again.
func recall(devices *link.Handle, resumed []firewall.Resolver) error {
	var flows []link.HostPort
	for _, r := range resumed {
		flows = append(flows, link.HostPort{
			Protocol: unix.IPPROTO_UDP, Addr: r.Addr, Port: firewall.DNSPort, Keep: netip.AddrPortFrom(r.Addr, firewall.ResolverPort),
		})
	}
	if err := devices.ForgetFlows(flows...); err != nil {
		return fmt.Errorf("have the clients of %d gateways' resolvers come back: %w", len(resumed), err)
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
