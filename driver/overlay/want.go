package overlay

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/port"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/link"
)

// tunnelPrefix begins the name of a VXLAN device; the VNI follows in hexadecimal.
const tunnelPrefix = "onx"

func tunnelName(n driver.Network) string { return fmt.Sprintf("%s%06x", tunnelPrefix, n.Overlay.VNI) }

// wantBridge says what the network's bridge should be.
func wantBridge(n driver.Network, alias string) link.Bridge {
	return link.Bridge{
		Name: port.BridgeName(n.ID),
		MTU:  n.Overlay.MTU,
		// Where IPv6 is off the kernel takes no neighbour entries.
		IPv6:   n.HasIPv6(),
		Silent: true,
		Alias:  alias,
		Own:    true,
	}
}

// wantVXLAN says what the network's VXLAN device should be.
func wantVXLAN(n driver.Network, own netip.Addr, udpPort uint16, alias string) link.VXLAN {
	return link.VXLAN{
		Name: tunnelName(n), Bridge: port.BridgeName(n.ID), VNI: n.Overlay.VNI,
		Local: own, Port: udpPort, MTU: n.Overlay.MTU, Alias: alias,
	}
}

// wantVeth says what an endpoint's pair of interfaces should be.
func wantVeth(n driver.Network, ep driver.Endpoint) link.Veth {
	return link.Veth{
		Host: port.HostSide(ep.ID), Peer: port.ContainerSide(ep.ID), Bridge: port.BridgeName(n.ID),
		MTU: n.Overlay.MTU, PeerMAC: ep.MAC[:],
	}
}

// wantRules says what the packet filter should know of a network.
func wantRules(n driver.Network, udpPort uint16) firewall.Network {
	return firewall.Network{
		Bridge: port.BridgeName(n.ID), ICC: true, Internal: true, Sealed: true,
		Tunnel: firewall.Tunnel{Port: udpPort, VNI: n.Overlay.VNI},
	}
}

// key is what there is one entry of in a table.
type key struct {
	kind link.EntryKind
	mac  [6]byte
	addr netip.Addr
}

func keyOf(e link.Entry) key {
	switch {
	case e.Flood():
		return key{kind: e.Kind, addr: e.Addr}
	case e.Kind == link.NeighbourEntry:
		return key{kind: e.Kind, addr: e.Addr}
	default:
		return key{kind: e.Kind, mac: e.MAC}
	}
}

// view is what a network's tables follow from.
type view struct {
	network driver.Network
	own     netip.Addr
	members []netip.Addr
	peers   []Peer
	local   []driver.Endpoint
}

// wantEntries says what the tables of a network's bridge and VXLAN device should hold.
//
// This host's own endpoints come before what others say of theirs: they are known to
// be here. Where two peers have the same address, as for an instant when a container
// moves, the choice only has to be the same each time. A host whose address is of the
// other family cannot be sent to, and neither can one that has ours.
func wantEntries(v view) map[key]link.Entry {
	bridge, tunnel := port.BridgeName(v.network.ID), tunnelName(v.network)
	want := make(map[key]link.Entry, 3*(len(v.peers)+len(v.local))+len(v.members))
	add := func(e link.Entry) { want[keyOf(e)] = e }
	reachable := func(vtep netip.Addr) bool {
		return vtep.IsValid() && vtep.Is4() == v.own.Is4() && vtep != v.own
	}
	for _, vtep := range v.members {
		if reachable(vtep) {
			add(link.Entry{Kind: link.TunnelEntry, Device: tunnel, Addr: vtep})
		}
	}
	for _, p := range sortedPeers(v.peers) {
		if p.MAC.IsZero() || !reachable(p.VTEP) {
			continue
		}
		add(link.Entry{Kind: link.TunnelEntry, Device: tunnel, MAC: p.MAC, Addr: p.VTEP})
		add(link.Entry{Kind: link.PortEntry, Device: tunnel, MAC: p.MAC})
		for _, a := range p.Addrs {
			add(link.Entry{Kind: link.NeighbourEntry, Device: bridge, MAC: p.MAC, Addr: a})
		}
	}
	for _, ep := range v.local {
		if ep.MAC.IsZero() {
			continue
		}
		delete(want, key{kind: link.TunnelEntry, mac: ep.MAC})
		add(link.Entry{Kind: link.PortEntry, Device: port.HostSide(ep.ID), MAC: ep.MAC})
		for _, a := range ep.Addrs() {
			add(link.Entry{Kind: link.NeighbourEntry, Device: bridge, MAC: ep.MAC, Addr: a})
		}
	}
	return want
}

func sortedPeers(peers []Peer) []Peer {
	return slices.SortedFunc(slices.Values(peers), func(a, b Peer) int {
		if c := a.VTEP.Compare(b.VTEP); c != 0 {
			return c
		}
		return slices.Compare(a.MAC[:], b.MAC[:])
	})
}

// difference returns what to do to bring a table from have to want: first put, then
// take. What put replaces is not taken.
func difference(have, want map[key]link.Entry) (put, take []link.Entry) {
	for k, e := range want {
		if have[k] != e {
			put = append(put, e)
		}
	}
	for k, e := range have {
		if _, ok := want[k]; !ok {
			take = append(take, e)
		}
	}
	return put, take
}
