package bridge

import (
	"fmt"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/port"
)

// Check reports why n cannot be made beside have.
func (d *Driver) Check(n driver.Network, have []driver.Network) error {
	if len(n.Subnets) == 0 {
		return fmt.Errorf("%w: a bridge network needs a subnet", driver.ErrOption)
	}
	if err := port.CheckMTU(n, n.Options.MTU); err != nil {
		return err
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
		if err := port.CheckSubnets(n, other); err != nil {
			return err
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
