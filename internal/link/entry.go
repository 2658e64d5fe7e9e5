package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// EntryKind is a table that an [Entry] is of.
type EntryKind uint8

// The tables.
const (
	// PortEntry is of a bridge: frames to MAC leave by its port Device.
	PortEntry EntryKind = iota + 1
	// TunnelEntry is of a VXLAN device: frames to MAC that leave by Device go to the
	// host Addr. Those to no certain MAC address, or to one that is not in the table,
	// go to each host that is there with the MAC address of zeros.
	TunnelEntry
	// NeighbourEntry is of a bridge: Addr has MAC. It answers for the containers.
	NeighbourEntry
)

// Entry is what a bridge or a VXLAN device was told of where things are. The kernel
// neither ages nor changes it by what it sees.
type Entry struct {
	Kind   EntryKind
	Device string
	MAC    [6]byte
	// Addr is not valid in a [PortEntry].
	Addr netip.Addr
}

// Flood reports whether the entry says where frames go that are for everybody.
func (e Entry) Flood() bool { return e.Kind == TunnelEntry && e.MAC == [6]byte{} }

// String returns the entry in the words of bridge(8) and ip-neighbour(8).
func (e Entry) String() string {
	mac := net.HardwareAddr(e.MAC[:])
	switch e.Kind {
	case PortEntry:
		return fmt.Sprintf("%s dev %s", mac, e.Device)
	case TunnelEntry:
		return fmt.Sprintf("%s dev %s dst %s", mac, e.Device, e.Addr)
	case NeighbourEntry:
	}
	return fmt.Sprintf("%s lladdr %s dev %s", e.Addr, mac, e.Device)
}

// The states of entries that the kernel leaves as they are. A forwarding entry that
// is permanent would be an address of the bridge itself (br_fdb.c, fdb_add_entry), so
// those are static.
const (
	forwardingState = netlink.NUD_NOARP | netlink.NUD_REACHABLE
	neighbourState  = netlink.NUD_PERMANENT
)

// Put makes an entry, in place of what the table had for the same MAC address, or for
// the same address of a neighbour, by one message to the kernel.
func (h *Handle) Put(e Entry) error {
	n, err := h.neigh(e)
	if err != nil {
		return fmt.Errorf("put %s: %w", e, err)
	}
	if e.Flood() {
		err = h.nl.NeighAppend(n) // beside the other hosts
	} else {
		err = h.nl.NeighSet(n)
	}
	if err = notFound(err); err != nil {
		return fmt.Errorf("put %s: %w", e, err)
	}
	return nil
}

// Take removes an entry; if it, or its device, is not there, that is fine.
func (h *Handle) Take(e Entry) error {
	n, err := h.neigh(e)
	if err == nil {
		err = notFound(h.nl.NeighDel(n))
	}
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("take %s: %w", e, err)
	}
	return nil
}

func (h *Handle) neigh(e Entry) (*netlink.Neigh, error) {
	index, err := h.index(e.Device)
	if err != nil {
		return nil, err
	}
	n := &netlink.Neigh{LinkIndex: index, HardwareAddr: e.MAC[:], Family: unix.AF_BRIDGE, State: forwardingState}
	switch e.Kind {
	case PortEntry:
		// Sticky: a container that sends with the address of another does not draw
		// its frames to itself, where that is let pass at all.
		n.Flags = netlink.NTF_MASTER | netlink.NTF_STICKY
	case TunnelEntry:
		n.Flags, n.IP = netlink.NTF_SELF, e.Addr.AsSlice()
	case NeighbourEntry:
		n.Family, n.State, n.IP = unix.AF_INET, neighbourState, e.Addr.AsSlice()
		if e.Addr.Is6() {
			n.Family = unix.AF_INET6
		}
	}
	return n, nil
}

// Entries returns all entries of the namespace by device: what [Handle.Put] made, and
// what somebody else made that looks the same. It asks for whole tables, since the
// kernel has no others to give.
func (h *Handle) Entries() (map[string][]Entry, error) {
	links, err := h.Links()
	if err != nil {
		return nil, err
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Index] = l.Name
	}
	byDevice := make(map[string][]Entry)
	for _, family := range []int{unix.AF_BRIDGE, unix.AF_INET, unix.AF_INET6} {
		list, err := retry(func() ([]netlink.Neigh, error) { return h.nl.NeighList(0, family) })
		if err != nil {
			return nil, fmt.Errorf("list entries: %w", err)
		}
		for _, n := range list {
			if e, ok := entryFrom(n); ok {
				e.Device = names[n.LinkIndex]
				byDevice[e.Device] = append(byDevice[e.Device], e)
			}
		}
	}
	return byDevice, nil
}

// entryFrom returns what the kernel tells as an entry without the name of its device.
// It is not ok for what the kernel found out by itself.
func entryFrom(n netlink.Neigh) (e Entry, ok bool) {
	addr, _ := netip.AddrFromSlice(n.IP)
	e.Addr = addr.Unmap()
	copy(e.MAC[:], n.HardwareAddr)
	switch {
	case n.Family != unix.AF_BRIDGE:
		e.Kind = NeighbourEntry
		return e, n.State&netlink.NUD_PERMANENT != 0 && n.Flags&netlink.NTF_PROXY == 0
	case n.MasterIndex != 0:
		e.Kind, e.Addr = PortEntry, netip.Addr{}
		return e, n.State&netlink.NUD_NOARP != 0
	}
	e.Kind = TunnelEntry
	return e, e.Addr.IsValid()
}
