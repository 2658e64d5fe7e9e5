package bridge

import (
	"net/netip"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/link"
)

// wantBridge says what the network's bridge should be.
func wantBridge(n driver.Network, alias string) link.Bridge {
	var addrs []netip.Prefix
	for _, s := range n.Subnets {
		if s.Gateway.IsValid() {
			addrs = append(addrs, s.Gateway)
		}
	}
	return link.Bridge{
		Name:  bridgeName(n),
		MTU:   n.Options.MTU,
		Addrs: addrs,
		IPv6:  n.HasIPv6(),
		Alias: alias,
	}
}

// wantVeth says what an endpoint's pair of interfaces should be.
func wantVeth(n driver.Network, ep driver.Endpoint) link.Veth {
	return link.Veth{
		Host:    hostSide(ep.ID),
		Peer:    containerSide(ep.ID),
		Bridge:  bridgeName(n),
		MTU:     n.Options.MTU,
		PeerMAC: ep.MAC[:],
	}
}

// wantRules says what the packet filter should know of a network.
func wantRules(n driver.Network) firewall.Network {
	r := firewall.Network{
		Bridge:     bridgeName(n),
		Masquerade: n.Options.Masquerade && !n.Internal,
		ICC:        n.Options.ICC,
		Internal:   n.Internal,
	}
	for _, s := range n.Subnets {
		r.Subnets = append(r.Subnets, s.Pool)
	}
	return r
}

// wantPorts says what the packet filter should know of an endpoint's published ports.
func wantPorts(n driver.Network, ep driver.Endpoint) []firewall.Port {
	var ports []firewall.Port
	for _, b := range ep.Published {
		to := ep.Address.Addr()
		if b.HostAddr.Is6() {
			to = ep.AddressIPv6.Addr()
		}
		ports = append(ports, firewall.Port{
			Protocol: uint8(b.Protocol),
			HostAddr: b.HostAddr,
			HostPort: b.HostPort,
			Addr:     to,
			Port:     b.Port,
			Bridge:   bridgeName(n),
		})
	}
	return ports
}

type sysctl struct{ key, value string }

// wantSysctls says which kernel settings a network needs besides its bridge's own.
func wantSysctls(n driver.Network) []sysctl {
	if n.Internal {
		return nil
	}
	name := bridgeName(n)
	want := []sysctl{
		{"net/ipv4/ip_forward", "1"},
		// A connection from the host to 127.0.0.1:port leaves by the bridge with
		// that source; the firewall drops what comes in with such a destination.
		{"net/ipv4/conf/" + name + "/route_localnet", "1"},
	}
	if n.HasIPv6() {
		want = append(want, sysctl{"net/ipv6/conf/all/forwarding", "1"})
	}
	return want
}
