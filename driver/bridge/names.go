package bridge

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

// bridgeName returns the name of a network's bridge.
func bridgeName(n driver.Network) string {
	if n.Options.BridgeName != "" {
		return n.Options.BridgeName
	}
	return bridgePrefix + string(n.ID[:12])
}

// hostSide returns the name of the end of an endpoint's veth that stays on the
// host, as a port of the bridge.
func hostSide(id driver.EndpointID) string { return hostPrefix + string(id[:11]) }

// isHostSide reports whether a name is one that hostSide makes.
func isHostSide(name string) bool {
	digits, ok := strings.CutPrefix(name, hostPrefix)
	return ok && len(digits) == 11 && strings.Trim(digits, "0123456789abcdef") == ""
}

// containerSide returns the name of the end of an endpoint's veth that the engine
// moves into the sandbox, before it does.
func containerSide(id driver.EndpointID) string { return peerPrefix + string(id[:11]) }
