package bridge

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/ournet/ournet/driver"
)

// isolated reports whether the ports of a network's bridge must be kept apart by
// the bridge itself.
//
// Packets from one port of a bridge to another pass the packet filter, which knows
// of `enable_icc=false`, only with br_netfilter. Engine 29 does not load it unless a
// network of its own needs it, and anybody may switch it off. With it, the packet
// filter is the better judge: it lets containers call each other's published ports,
// which then go from port to port as well.
func (d *Driver) isolated(n driver.Network) (bool, error) {
	if n.Options.ICC {
		return false, nil
	}
	for _, key := range []string{"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"} {
		switch value, err := d.sys.Sysctl(key); {
		case errors.Is(err, fs.ErrNotExist):
			return true, nil
		case err != nil:
			return false, fmt.Errorf("network %s: %w", n.ID.Short(), err)
		case value != "1":
			return true, nil
		}
	}
	return false, nil
}
