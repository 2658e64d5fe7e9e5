package plugin

import (
	"net/http"
	"net/netip"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/admin"
)

// NetworkLister knows all networks and endpoints of this host.
type NetworkLister interface {
	// All returns them from memory, oldest network first.
	All() []driver.Attached
}

// read registers what can be read at path, beside the protocol. Nothing is changed
// by it, and nothing is waited for: it is answered from memory.
func (h *Handler) read(path string, answer func() any) {
	h.paths[path] = func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			h.refuse(w, http.StatusMethodNotAllowed, path+" is read with GET")
			return
		}
		h.reply(w, http.StatusOK, answer())
	}
}

// adminNetworks is what an operator's command sees of have.
func adminNetworks(have []driver.Attached) admin.Networks {
	all := admin.Networks{Networks: make([]admin.Network, 0, len(have))}
	for _, a := range have {
		n := admin.Network{
			ID:         string(a.Network.ID),
			Endpoints:  make([]admin.Endpoint, 0, len(a.Endpoints)),
			Unreadable: len(a.Unreadable),
		}
		for _, ep := range a.Endpoints {
			n.Endpoints = append(n.Endpoints, admin.Endpoint{ID: string(ep.ID), Ports: adminPorts(ep)})
		}
		all.Networks = append(all.Networks, n)
	}
	return all
}

// adminPorts is what is published of an endpoint now, not what was asked for.
func adminPorts(ep driver.Endpoint) []admin.Port {
	ports := make([]admin.Port, 0, len(ep.Published))
	for _, b := range ep.Published {
		to := ep.Address
		if b.HostAddr.Is6() {
			to = ep.AddressIPv6
		}
		ports = append(ports, admin.Port{
			Protocol:  b.Protocol.String(),
			Container: netip.AddrPortFrom(to.Addr(), b.Port),
			Host:      netip.AddrPortFrom(b.HostAddr, b.HostPort),
		})
	}
	return ports
}
