package bridge

import (
	"net/netip"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/port"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/link"
)

// wantBridge says what the network's bridge should be.
func wantBridge(n driver.Network, alias string) link.Bridge {
	var addrs []netip.Prefix
	for _, s := range n.Subnets {
		is6 := s.Pool.Addr().Is6()
		// Without its address the host is no member of the network: that is what
		// isolated means, and who inhibits it gives it to another device.
		inhibited := n.Options.InhibitIPv4 && !is6
		if s.Gateway.IsValid() && !inhibited && n.Options.GatewayMode(is6) != driver.GatewayIsolated {
			addrs = append(addrs, s.Gateway)
		}
	}
	return link.Bridge{
		Name:  bridgeName(n),
		MTU:   n.Options.MTU,
		Addrs: addrs,
		// Not even a link-local address, if it is isolated.
		IPv6: n.HasIPv6() && n.Options.GatewayMode(true) != driver.GatewayIsolated,

		LeaveIPv4: n.Options.InhibitIPv4,
		Alias:     alias,
		Own:       n.Options.BridgeName == "",
	}
}

// Gateway returns the network's bridge, and the addresses that the host has on it.
func Gateway(n driver.Network) (device string, addrs []netip.Addr) {
	want := wantBridge(n, "")
	for _, a := range want.Addrs {
		addrs = append(addrs, a.Addr())
	}
	return want.Name, addrs
}

// wantVeth says what an endpoint's pair of interfaces should be.
func wantVeth(n driver.Network, ep driver.Endpoint, isolated bool) link.Veth {
	return link.Veth{
		Host:    port.HostSide(ep.ID),
		Peer:    port.ContainerSide(ep.ID),
		Bridge:  bridgeName(n),
		MTU:     n.Options.MTU,
		PeerMAC: ep.MAC[:],

		Isolated: isolated,
	}
}

// wantRules says what the packet filter should know of a network.
func wantRules(n driver.Network) firewall.Network {
	r := firewall.Network{
		Bridge: bridgeName(n),
		ICC:    n.Options.ICC,
		// Also if the engine is the gateway: nothing has to pass by our bridge then.
		Internal: !n.OwnGateway(),
	}
	for _, s := range n.Subnets {
		r.Subnets = append(r.Subnets, s.Pool)
	}
	if n.OwnGateway() {
		r.IPv4, r.IPv6 = wantGateway(n, false), wantGateway(n, true)
		r.Trusted = n.Options.TrustedInterfaces
	}
	return r
}

// wantGateway says what the packet filter should do for the gateway of a family.
func wantGateway(n driver.Network, is6 bool) firewall.Gateway {
	mode := n.Options.GatewayMode(is6)
	g := firewall.Gateway{
		Masquerade:  n.Options.Masquerade && mode.Translates(),
		Routed:      mode == driver.GatewayRouted,
		Unprotected: mode == driver.GatewayUnprotected,
	}
	if g.Masquerade {
		g.Source = n.Options.HostIPv4
		if is6 {
			g.Source = n.Options.HostIPv6
		}
	}
	return g
}

// open reports whether published ports of containers are to be reached at their own
// addresses of a family, by whoever the packet filter then lets.
func open(n driver.Network, is6 bool) bool {
	return routed(n, is6) || len(n.Options.TrustedInterfaces) > 0
}

// routed reports whether publishing a port binds none of the host.
func routed(n driver.Network, is6 bool) bool {
	return n.Options.GatewayMode(is6) == driver.GatewayRouted
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
			Open:     open(n, b.HostAddr.Is6()),
		})
	}
	return ports
}

type sysctl struct{ key, value string }

// wantSysctls says which kernel settings a network's bridge needs.
func wantSysctls(n driver.Network) []sysctl {
	if !n.OwnGateway() {
		return nil
	}
	// A connection from the host to 127.0.0.1:port leaves by the bridge with
	// that source; the firewall drops what comes in with such a destination.
	return []sysctl{{"net/ipv4/conf/" + bridgeName(n) + "/route_localnet", "1"}}
}

// unwantSysctls takes wantSysctls back on a bridge that stays without us: nothing
// would drop any more what arrives there for 127.0.0.1.
func unwantSysctls(n driver.Network) []sysctl {
	if !n.OwnGateway() {
		return nil
	}
	return []sysctl{{"net/ipv4/conf/" + bridgeName(n) + "/route_localnet", "0"}}
}

// wantForwarding says which settings the host needs to forward a network's packets.
//
// They are set when a network is made and when a container joins, never when the
// plugin starts: an engine that finds forwarding off at its own start switches it
// on and sets the FORWARD chain's policy to DROP in the same breath; one that finds
// it on leaves a policy of ACCEPT, and the host forwards for everybody (moby
// daemon/libnetwork/drivers/bridge, setupIPForwarding). At boot we start first.
func wantForwarding(n driver.Network) []sysctl {
	if !n.OwnGateway() {
		return nil
	}
	var want []sysctl
	if n.HasIPv4() {
		want = append(want, sysctl{"net/ipv4/ip_forward", "1"})
	}
	if n.HasIPv6() {
		want = append(want, sysctl{"net/ipv6/conf/all/forwarding", "1"})
	}
	return want
}
