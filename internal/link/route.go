package link

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route says that a destination is reached through a device.
type Route struct {
	Dst netip.Prefix
	// Dev is the device's name, the first one of several; "" for a route that
	// refuses, such as a blackhole.
	Dev string
}

// Routes returns the routes of the main table, IPv4 and IPv6, that say where a
// subnet is: without default, multicast, loopback and link-local ones. The halves
// 0.0.0.0/1 and 128.0.0.0/1, with which VPNs overrule the default route, are
// default ones too.
func (h *Handle) Routes() ([]Route, error) {
	links, err := h.Links()
	if err != nil {
		return nil, err
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Index] = l.Name
	}
	list, err := retry(func() ([]netlink.Route, error) {
		return h.nl.RouteListFiltered(netlink.FAMILY_ALL,
			&netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var routes []Route
	for _, r := range list {
		dst, ok := prefixFrom(r.Dst)
		if !ok || dst.Bits() <= 1 || !placed(dst.Addr()) {
			continue
		}
		index := r.LinkIndex
		if index == 0 && len(r.MultiPath) > 0 {
			index = r.MultiPath[0].LinkIndex
		}
		routes = append(routes, Route{Dst: dst.Masked(), Dev: names[index]})
	}
	return routes, nil
}

// placed reports whether an address is at one place of the network.
func placed(a netip.Addr) bool {
	return !a.IsMulticast() && !a.IsLoopback() && !a.IsLinkLocalUnicast()
}
