package port

import (
	"fmt"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/link"
)

// CheckSubnets refuses a network that has a subnet in common with another.
func CheckSubnets(n, other driver.Network) error {
	for _, x := range n.Subnets {
		for _, y := range other.Subnets {
			if x.Pool.Overlaps(y.Pool) {
				return fmt.Errorf("%w: %s with %s of network %s; choose another --subnet",
					driver.ErrOverlap, x.Pool, y.Pool, other.ID.Short())
			}
		}
	}
	return nil
}

// CheckRoutes refuses a network whose subnet the host routes elsewhere already than
// to the network's bridge: its containers could not reach what is there, or the bridge
// would take that traffic away from the host.
func CheckRoutes(n driver.Network, bridge string, routes []link.Route) error {
	for _, s := range n.Subnets {
		for _, r := range routes {
			if r.Dev != bridge && r.Dst.Overlaps(s.Pool) {
				return fmt.Errorf("%w: %s with this host's route to %s through %s; choose another --subnet",
					driver.ErrOverlap, s.Pool, r.Dst, r.Dev)
			}
		}
	}
	return nil
}

// minMTUIPv6 is the least MTU of a link that carries IPv6 (RFC 8200 section 5).
const minMTUIPv6 = 1280

// CheckMTU refuses an MTU with which the network's IPv6 could not work; 0 is the
// kernel's own.
func CheckMTU(n driver.Network, mtu int) error {
	if n.HasIPv6() && mtu != 0 && mtu < minMTUIPv6 {
		return fmt.Errorf("%w %s=%d: IPv6 needs at least %d", driver.ErrOption, driver.OptMTU, mtu, minMTUIPv6)
	}
	return nil
}
