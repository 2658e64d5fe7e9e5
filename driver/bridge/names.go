package bridge

import (
	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/port"
)

// bridgeName returns the name of a network's bridge.
func bridgeName(n driver.Network) string {
	if n.Options.BridgeName != "" {
		return n.Options.BridgeName
	}
	return port.BridgeName(n.ID)
}
