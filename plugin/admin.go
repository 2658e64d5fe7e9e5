package plugin

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/admin"
	"github.com/ournet/ournet/ipam"
)

// removeTimeout bounds what an operator's command has removed. The cluster store may be
// without a leader for longer than the server otherwise gives a reply ([writeTimeout]);
// the command itself waits for 30 s.
const removeTimeout = 25 * time.Second

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

// remove registers do as the answer to DELETE of path, for what its query names by id.
func (h *Handler) remove(path string, do func(ctx context.Context, id string) error) {
	h.paths[path] = func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodDelete {
			h.refuse(w, http.StatusMethodNotAllowed, path+" is only for DELETE")
			return
		}
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(removeTimeout + verbGrace)); err != nil {
			h.log.WithError(err).Debug("a removal has to be as quick as a verb")
		}
		ctx, cancel := context.WithTimeout(r.Context(), removeTimeout)
		defer cancel()
		id := r.URL.Query().Get("id")
		if err := do(ctx, id); err != nil {
			h.log.WithError(err).WithField("id", id).Warn("not removed: " + path)
			h.refuse(w, http.StatusInternalServerError, err.Error())
			return
		}
		h.reply(w, http.StatusOK, struct{}{})
	}
}

// adminNetworks is what an operator's command sees of have, and of the pools.
func adminNetworks(have []driver.Attached, pools []ipam.PoolInfo) admin.Networks {
	bySubnet := make(map[netip.Prefix]ipam.PoolInfo, len(pools))
	for _, p := range pools {
		bySubnet[p.Subnet] = p
	}
	all := admin.Networks{Networks: make([]admin.Network, 0, len(have))}
	for _, a := range have {
		n := admin.Network{
			ID:         string(a.Network.ID),
			Type:       string(a.Network.Options.Type),
			Internal:   a.Network.Internal,
			Created:    a.Network.Created,
			Endpoints:  make([]admin.Endpoint, 0, len(a.Endpoints)),
			Pools:      make([]admin.Pool, 0, len(a.Network.Subnets)),
			Unreadable: len(a.Unreadable),
		}
		if id, ok := clusterID(a.Network); ok {
			n.Shared = string(id)
		}
		for _, s := range a.Network.Subnets {
			var p ipam.PoolInfo // none for a subnet of the engine's own address manager
			if ipam.IsSpace(s.Space) {
				p = bySubnet[s.Pool]
			}
			n.Pools = append(n.Pools, admin.Pool{Subnet: s.Pool, Used: p.Used, Free: p.Free})
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
