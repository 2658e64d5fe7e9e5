package bridge

import (
	"fmt"
	"net/netip"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/link"
)

// restore makes the interface of an endpoint anew in the sandbox that it had joined,
// after somebody deleted it. It reports false if there is none, or no sandbox.
//
// The engine does not tell what else it set there: addresses of `--link-local-ip` and
// settings of `--driver-opt com.docker.network.endpoint.sysctls` do not come back. Nor
// does it tell whether it knows of names that are asked for: one before 28 does not,
// and its interface comes back under another name than it had.
func (d *Driver) restore(n driver.Network, ep driver.Endpoint, isolated bool) (bool, error) {
	if ep.SandboxKey == "" {
		return false, nil
	}
	att := attachment(n, ep)
	in := link.Inside{Sandbox: ep.SandboxKey, Name: att.DstName, Prefix: att.DstPrefix}
	for _, p := range []netip.Prefix{ep.Address, ep.AddressIPv6} {
		if p.IsValid() {
			in.Addrs = append(in.Addrs, p)
		}
	}
	for _, gw := range []netip.Addr{att.Gateway, att.GatewayIPv6} {
		if gw.IsValid() {
			in.Gateways = append(in.Gateways, gw)
		}
	}
	made, err := d.dev.RestoreVeth(wantVeth(n, ep, isolated), in)
	if err != nil || !made {
		return false, err
	}
	if len(ep.Published) > 0 {
		if err := d.dev.SetHairpin(hostSide(ep.ID), true); err != nil {
			return true, fmt.Errorf("restore: %w", err)
		}
	}
	return true, nil
}
