package link

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// HostPort is a port of the host.
type HostPort struct {
	// Protocol is the IP protocol number.
	Protocol uint8
	// Addr is the host's address; unspecified means every one of its family.
	Addr netip.Addr
	Port uint16
	// Keep is where flows to the port may go on to; not valid means nowhere.
	Keep netip.AddrPort
	// Only is where those go that are meant; not valid means anywhere.
	Only netip.AddrPort
}

// ForgetFlows makes the kernel judge the flows to ports of this host anew. It
// remembers for each flow where it was sent at first (connection tracking), and for
// a datagram protocol without an end to its flows that is where they go for as long
// as the client does not pause: to a container that is gone, or to nobody if the
// port was published later.
func (h *Handle) ForgetFlows(ports ...HostPort) error {
	if len(ports) == 0 {
		return nil
	}
	local, err := h.localAddrs()
	if err != nil {
		return err
	}
	c, err := openConntrack()
	if err != nil {
		return err
	}
	defer c.close()
	var errs []error
	for q, ports := range portQueries(ports) {
		if err := c.forget(q, flowsTo{local, ports}.match); err != nil {
			errs = append(errs, fmt.Errorf("flows to %d ports of this host: %w", len(ports), err))
		}
	}
	return errors.Join(errs...)
}

// ForgetAddrs makes the kernel forget all flows from and to containers with those
// addresses, whatever they were sent to at first: a published port, or the address
// itself. Who has the address next shall not get what was meant for the former.
//
// The kernel picks the flows out, so that a host with many of others' pays little.
func (h *Handle) ForgetAddrs(addrs ...netip.Addr) error {
	if len(addrs) == 0 {
		return nil
	}
	c, err := openConntrack()
	if err != nil {
		return err
	}
	defer c.close()
	var errs []error
	for _, addr := range addrs {
		match := func(f flow) bool { return f.orig.src.Addr() == addr || f.reply.src.Addr() == addr }
		for _, q := range []flowQuery{{is4: addr.Is4(), from: addr}, {is4: addr.Is4(), answerOf: addr}} {
			if err := c.forget(q, match); err != nil {
				errs = append(errs, fmt.Errorf("flows of %s: %w", addr, err))
			}
		}
	}
	return errors.Join(errs...)
}

// portQueries returns a question for the kernel for each family and protocol of the
// ports: about the port if they have one, else about all of them.
func portQueries(ports []HostPort) map[flowQuery][]HostPort {
	groups := make(map[flowQuery][]HostPort)
	for _, p := range ports {
		q := flowQuery{is4: p.Addr.Is4(), protocol: p.Protocol}
		groups[q] = append(groups[q], p)
	}
	queries := make(map[flowQuery][]HostPort, len(groups))
	for q, group := range groups {
		if port := group[0].Port; !slices.ContainsFunc(group, func(p HostPort) bool { return p.Port != port }) {
			q.port = port
		}
		queries[q] = group
	}
	return queries
}

func (h *Handle) localAddrs() (map[netip.Addr]bool, error) {
	list, err := retry(func() ([]netlink.Addr, error) { return h.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	local := make(map[netip.Addr]bool, len(list))
	for _, a := range list {
		if p, ok := prefixFrom(a.IPNet); ok {
			local[p.Addr()] = true
		}
	}
	return local, nil
}

// flowsTo matches flows that came for ports of this host and did not go where they
// may. What the host forwards to the same port elsewhere is not concerned.
type flowsTo struct {
	local map[netip.Addr]bool
	ports []HostPort
}

func (to flowsTo) match(f flow) bool {
	dst := f.orig.dst
	if !to.local[dst.Addr()] && !dst.Addr().IsLoopback() {
		return false
	}
	return slices.ContainsFunc(to.ports, func(p HostPort) bool {
		went := f.reply.src // who has got the packets answers
		return p.Protocol == f.orig.protocol && p.Port == dst.Port() && (p.Addr.IsUnspecified() || p.Addr == dst.Addr()) &&
			went != p.Keep && (!p.Only.IsValid() || went == p.Only)
	})
}
