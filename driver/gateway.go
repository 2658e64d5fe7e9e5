package driver

import (
	"fmt"
	"strings"
)

// GatewayMode is what a network's gateway does for one family of addresses: the
// value of the options gateway_mode_ipv4 and gateway_mode_ipv6. The modes are those
// of the engine's built-in bridge.
type GatewayMode string

// The modes of a gateway. The zero value is [GatewayNAT].
const (
	// GatewayNAT translates: outgoing packets carry the host's address, and ports
	// are published on the host. Nothing else gets in.
	GatewayNAT GatewayMode = "nat"
	// GatewayUnprotected translates as well, but who sends to a container's own
	// address reaches every port.
	GatewayUnprotected GatewayMode = "nat-unprotected"
	// GatewayRouted translates nothing: containers have addresses that others can
	// route to, and publishing a port opens it there.
	GatewayRouted GatewayMode = "routed"
	// GatewayIsolated has no gateway at all: not even the host has an address on
	// the bridge. For internal networks only.
	GatewayIsolated GatewayMode = "isolated"
)

func gatewayModes() []string {
	return []string{string(GatewayNAT), string(GatewayUnprotected), string(GatewayRouted), string(GatewayIsolated)}
}

// Translates reports whether the gateway puts addresses of the host in the place of
// the containers'.
func (m GatewayMode) Translates() bool { return m != GatewayRouted && m != GatewayIsolated }

func setGatewayMode(to *GatewayMode, value string) error {
	for _, mode := range gatewayModes() {
		if value == mode {
			*to = GatewayMode(mode)
			return nil
		}
	}
	return fmt.Errorf("did you mean %q? The modes are %s", nearest(value, gatewayModes()), strings.Join(gatewayModes(), ", "))
}
