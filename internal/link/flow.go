package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
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
}

// ForgetFlows makes the kernel judge the flows to ports of this host anew. It
// remembers for each flow where it was sent at first (connection tracking), and for
// a datagram protocol without an end to its flows that is where they go for as long
// as the client does not pause: to a container that is gone, or to nobody if the
// port was published later.
func (h *Handle) ForgetFlows(ports ...HostPort) error {
	local, err := h.localAddrs()
	if err != nil {
		return err
	}
	var errs []error
	for _, family := range []struct {
		number netlink.InetFamily
		is4    bool
	}{{unix.AF_INET, true}, {unix.AF_INET6, false}} {
		to := flowsTo{local: local, ports: slices.DeleteFunc(slices.Clone(ports), func(p HostPort) bool {
			return p.Addr.Is4() != family.is4
		})}
		if len(to.ports) == 0 {
			continue
		}
		_, err := retry(func() (uint, error) {
			return h.nl.ConntrackDeleteFilters(netlink.ConntrackTable, family.number, to)
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("forget flows to %d ports of this host: %w", len(to.ports), err))
		}
	}
	return errors.Join(errs...)
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

// MatchConntrackFlow implements [netlink.CustomConntrackFilter].
func (f flowsTo) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	dst, ok := addrFrom(flow.Forward.DstIP)
	if !ok || !f.local[dst] && !dst.IsLoopback() {
		return false
	}
	src, _ := addrFrom(flow.Reverse.SrcIP) // of the answers: who has got the packets
	to := netip.AddrPortFrom(src, flow.Reverse.SrcPort)
	return slices.ContainsFunc(f.ports, func(p HostPort) bool {
		return p.Protocol == flow.Forward.Protocol && p.Port == flow.Forward.DstPort &&
			(p.Addr.IsUnspecified() || p.Addr == dst) && to != p.Keep
	})
}

func addrFrom(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	return a.Unmap(), ok
}
