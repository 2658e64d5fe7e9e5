package bridge

import (
	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/firewall"
)

// wantSource says what an endpoint's container may send. It is not ok where that is
// not to be checked: the user said so, or the interface has whatever MAC address the
// kernel gave it.
func wantSource(n driver.Network, ep driver.Endpoint) (src firewall.Source, ok bool) {
	if n.Options.AllowSpoofing || ep.MAC.IsZero() {
		return firewall.Source{}, false
	}
	return firewall.Source{Device: hostSide(ep.ID), MAC: ep.MAC, Addrs: ep.Addrs()}, true
}

// wantSources returns those of all endpoints that have joined.
func wantSources(want []driver.Attached) []firewall.Source {
	var all []firewall.Source
	for _, a := range want {
		for _, ep := range a.Endpoints {
			if src, ok := wantSource(a.Network, ep); ok && ep.SandboxKey != "" {
				all = append(all, src)
			}
		}
	}
	return all
}
