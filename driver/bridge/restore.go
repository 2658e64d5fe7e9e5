package bridge

import (
	"fmt"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/port"
)

// restore makes the interface of an endpoint anew in the sandbox that it had joined,
// after somebody deleted it. It reports false if there is none, or no sandbox.
func (d *Driver) restore(n driver.Network, ep driver.Endpoint, isolated bool) (bool, error) {
	if ep.SandboxKey == "" {
		return false, nil
	}
	made, err := d.dev.RestoreVeth(wantVeth(n, ep, isolated), port.Inside(ep, attachment(n, ep)))
	if err != nil || !made {
		return false, err
	}
	if len(ep.Published) > 0 {
		if err := d.dev.SetHairpin(port.HostSide(ep.ID), true); err != nil {
			return true, fmt.Errorf("restore: %w", err)
		}
	}
	return true, nil
}
