package driver

import (
	"errors"
	"net/netip"
)

// The values of [OptGateway]: who lets a network's containers out and in.
const (
	gatewayOurnet = "ournet"
	gatewayDocker = "docker"
)

func setGateway(o *Options, value string) error {
	switch value {
	case gatewayOurnet, gatewayDocker:
		o.DockerGateway = value == gatewayDocker
		return nil
	}
	return errors.New(`want "ournet", or "docker" for the engine's docker_gwbridge`)
}

// OwnGateway reports whether the network's containers get out, and its published
// ports in, by the network's own bridge. Those of an internal network do not at all;
// with `-o ournet.gateway=docker`, and on an overlay network, the engine sees to it.
func (n Network) OwnGateway() bool {
	return !n.Internal && !n.Options.DockerGateway && n.Options.Type != TypeOverlay
}

// OnLink returns the subnets that an endpoint reaches on its interface besides the one
// that its address is of: the network's others of the families that it has. Where the
// network has a gateway of its own there are none, since that leads to all of them;
// otherwise the endpoint would look for their containers outside.
func (n Network) OnLink(ep Endpoint) []netip.Prefix {
	if n.OwnGateway() {
		return nil
	}
	var others []netip.Prefix
	for _, own := range []netip.Prefix{ep.Address, ep.AddressIPv6} {
		if !own.IsValid() {
			continue
		}
		for _, s := range n.Subnets {
			// A pool of all addresses is what the address manager "null" gives.
			if s.Pool.Addr().Is4() == own.Addr().Is4() && s.Pool.Bits() > 0 && !s.Pool.Contains(own.Addr()) {
				others = append(others, s.Pool)
			}
		}
	}
	return others
}
