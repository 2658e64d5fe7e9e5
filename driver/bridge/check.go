package bridge

import (
	"fmt"
	"net/netip"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/link"
)

// minMTUIPv6 is the least MTU of a link that carries IPv6 (RFC 8200 section 5).
const minMTUIPv6 = 1280

// Check reports why n cannot be made beside have.
func (d *Driver) Check(n driver.Network, have []driver.Network) error {
	if len(n.Subnets) == 0 {
		return fmt.Errorf("%w: a bridge network needs a subnet", driver.ErrOption)
	}
	if n.HasIPv6() && n.Options.MTU != 0 && n.Options.MTU < minMTUIPv6 {
		return fmt.Errorf("%w %s=%d: IPv6 needs at least %d",
			driver.ErrOption, driver.OptMTU, n.Options.MTU, minMTUIPv6)
	}
	if err := checkModes(n); err != nil {
		return err
	}
	if err := checkGateway(n); err != nil {
		return err
	}
	if engineBridge.MatchString(bridgeName(n)) {
		return fmt.Errorf("bridge %s is %w by the engine; choose another %s",
			bridgeName(n), driver.ErrInUse, driver.OptBridgeName)
	}
	for _, other := range have {
		if bridgeName(other) == bridgeName(n) {
			return fmt.Errorf("bridge %s is %w by network %s; choose another %s",
				bridgeName(n), driver.ErrInUse, other.ID.Short(), driver.OptBridgeName)
		}
		if mine, theirs, ok := overlap(n.Subnets, other.Subnets); ok {
			return fmt.Errorf("%w: %s with %s of network %s; choose another --subnet",
				driver.ErrOverlap, mine, theirs, other.ID.Short())
		}
	}
	return nil
}

// checkModes refuses gateways that the kind of network cannot have.
func checkModes(n driver.Network) error {
	for key, mode := range map[string]driver.GatewayMode{
		driver.OptGatewayModeIPv4: n.Options.GatewayModeIPv4, driver.OptGatewayModeIPv6: n.Options.GatewayModeIPv6,
	} {
		if mode == driver.GatewayIsolated && !n.Internal {
			return fmt.Errorf("%w %s=%s: it is for internal networks; add --internal", driver.ErrOption, key, mode)
		}
	}
	for _, s := range n.Subnets {
		if other, ok := s.OtherGateway(); ok && n.Internal {
			return fmt.Errorf("%w: the auxiliary address %s would be a gateway, which an internal network has not", driver.ErrOption, other)
		}
	}
	return nil
}

func overlap(a, b []driver.Subnet) (netip.Prefix, netip.Prefix, bool) {
	for _, x := range a {
		for _, y := range b {
			if x.Pool.Overlaps(y.Pool) {
				return x.Pool, y.Pool, true
			}
		}
	}
	return netip.Prefix{}, netip.Prefix{}, false
}

// checkRoutes refuses a network whose subnet the host routes elsewhere already:
// the new bridge would take that traffic away.
func checkRoutes(n driver.Network, routes []link.Route) error {
	for _, s := range n.Subnets {
		for _, r := range routes {
			if r.Dev != bridgeName(n) && r.Dst.Overlaps(s.Pool) {
				return fmt.Errorf("%w: %s with this host's route to %s through %s; choose another --subnet",
					driver.ErrOverlap, s.Pool, r.Dst, r.Dev)
			}
		}
	}
	return nil
}

// checkGateway refuses what contradicts the engine as a network's gateway: its
// docker_gwbridge masquerades everything and binds to every address.
func checkGateway(n driver.Network) error {
	if !n.Options.DockerGateway {
		return nil
	}
	for _, c := range []struct {
		wrong bool
		what  string
	}{
		{n.Internal, "--internal, with which there is no way out"},
		{!n.Options.Masquerade, driver.OptMasquerade + "=false, since the engine masquerades"},
		{n.Options.HostBindingIPv4.IsValid(), driver.OptHostBindingIPv4 + ", which the engine does not heed there"},
	} {
		if c.wrong {
			return fmt.Errorf("%w: %s=docker contradicts %s; leave one of them out", driver.ErrOption, driver.OptGateway, c.what)
		}
	}
	return nil
}
