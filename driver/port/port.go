// Package port holds what all kinds of network have in common that are Linux bridges
// on this host: how devices are named, a container's pair of interfaces and what it
// may send by it, and the subnets that a network may not have.
//
// It says what should be, and asks the kernel only for what its functions are handed.
// It knows nothing of gateways, tunnels or published ports; those are what the kinds
// differ in.
package port

import (
	"strings"

	"github.com/ournet/ournet/driver"
)

// Device names have at most 15 bytes (IFNAMSIZ less the final zero). Ids are
// random, so the first 11 or 12 digits tell devices apart.
const (
	bridgePrefix = "on-" // + 12 digits of the network id
	hostPrefix   = "onv" // + 11 digits of the endpoint id: the host side of a veth
	peerPrefix   = "onp" // + 11 digits of the endpoint id: the container side
)

// BridgeName returns the name of a network's bridge, if the user chose none.
func BridgeName(id driver.NetworkID) string { return bridgePrefix + string(id[:12]) }

// HostSide returns the name of the end of an endpoint's veth that stays on the
// host, as a port of the bridge.
func HostSide(id driver.EndpointID) string { return hostPrefix + string(id[:11]) }

// IsHostSide reports whether a name is one that [HostSide] makes.
func IsHostSide(name string) bool {
	digits, ok := strings.CutPrefix(name, hostPrefix)
	return ok && len(digits) == 11 && strings.Trim(digits, "0123456789abcdef") == ""
}

// ContainerSide returns the name of the end of an endpoint's veth that the engine
// moves into the sandbox, before it does.
func ContainerSide(id driver.EndpointID) string { return peerPrefix + string(id[:11]) }
