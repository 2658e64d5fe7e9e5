package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var (
	// ErrVNITaken says that another device of this host has the VXLAN network
	// identifier.
	ErrVNITaken = errors.New("VNI is taken")
	// ErrPortTaken says that a program of this host listens on the UDP port.
	ErrPortTaken = errors.New("UDP port is taken")
)

// VXLAN says what a tunnel device should be: a port of a bridge that sends and gets
// its frames in UDP packets to and from other hosts.
type VXLAN struct {
	Name string
	// Bridge is the name of the bridge, which must exist.
	Bridge string
	// VNI is the VXLAN network identifier.
	VNI uint32
	// Local is this host's address, from which it sends.
	Local netip.Addr
	// Port is the UDP port, on all hosts.
	Port uint16
	// MTU in bytes.
	MTU int
	// Alias marks the device as made by us.
	Alias string
}

// EnsureVXLAN makes the device, or makes an existing one right; one that cannot be is
// made anew, if it has our alias.
//
// It learns nothing, neither from the packets of other hosts (which of them a MAC
// address is at) nor as a port of its bridge: what it knows is what it is told with
// [Handle.Put]. And it lets no ARP request or neighbour solicitation out that the
// bridge knows the answer to (neigh_suppress). It is bound to no device, so that the
// host's routes say how packets go. Checksums are the kernel's default, which are
// those of a device that is made by hand: on, over IPv4 and IPv6.
func (h *Handle) EnsureVXLAN(want VXLAN) (Ensured, error) {
	bridge, err := h.index(want.Bridge)
	if err != nil {
		return Ensured{}, fmt.Errorf("vxlan %s: %w", want.Name, err)
	}
	have, err := h.vxlan(want.Name)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return Ensured{}, err
	case have.Alias != "" && have.Alias != want.Alias:
		return Ensured{}, fmt.Errorf("vxlan %s: %w by another network (%s)", want.Name, ErrTaken, have.Alias)
	case !sameTunnel(have, want):
		// None of this can be changed, or not without a moment of a wrong mixture.
		if err := h.Delete(want.Name); err != nil {
			return Ensured{}, err
		}
		err = ErrNotFound
	}
	got := Ensured{Created: err != nil, Changed: err != nil}
	if err != nil {
		if err := h.createVXLAN(want); err != nil {
			return Ensured{}, err
		}
		if have, err = h.vxlan(want.Name); err != nil {
			return got, err
		}
	}
	changed, err := h.adjustVXLAN(have, want, bridge)
	got.Changed = got.Changed || changed
	if err != nil && got.Created {
		err = errors.Join(err, h.Delete(want.Name))
	}
	if err != nil {
		return got, fmt.Errorf("vxlan %s: %w", want.Name, err)
	}
	return got, nil
}

// vxlan returns the tunnel device of that name.
func (h *Handle) vxlan(name string) (*netlink.Vxlan, error) {
	l, err := retry(func() (netlink.Link, error) { return h.nl.LinkByName(name) })
	if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("find device %s: %w", name, err)
	}
	v, ok := l.(*netlink.Vxlan)
	if !ok {
		return nil, fmt.Errorf("vxlan %s: %w by a device of kind %q", name, ErrTaken, l.Type())
	}
	return v, nil
}

func sameTunnel(have *netlink.Vxlan, want VXLAN) bool {
	local, _ := netip.AddrFromSlice(have.SrcAddr)
	return have.VxlanId == int(want.VNI) && have.Port == int(want.Port) && local.Unmap() == want.Local &&
		!have.Learning && !have.Proxy && !have.FlowBased && !have.GBP && have.VtepDevIndex == 0 && have.Group == nil
}

func (h *Handle) createVXLAN(want VXLAN) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = want.Name, want.MTU
	err := h.nl.LinkAdd(&netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: int(want.VNI), SrcAddr: want.Local.AsSlice(), Port: int(want.Port),
	})
	if errors.Is(err, unix.EEXIST) {
		// The name was free a moment ago, so it is the identifier.
		return fmt.Errorf("vxlan %s: %w: %d by %s", want.Name, ErrVNITaken, want.VNI, h.whoHas(want))
	}
	if err != nil {
		return fmt.Errorf("create vxlan %s (VNI %d, from %s, UDP port %d): %w", want.Name, want.VNI, want.Local, want.Port, err)
	}
	return nil
}

// whoHas names the device that has a tunnel's VNI, for people.
func (h *Handle) whoHas(want VXLAN) string {
	list, err := retry(h.nl.LinkList)
	if err != nil {
		return "an unknown device"
	}
	for _, l := range list {
		if v, ok := l.(*netlink.Vxlan); ok && v.VxlanId == int(want.VNI) && v.Port == int(want.Port) {
			return "device " + v.Name
		}
	}
	// Swarm keeps its tunnels there; their sockets stay in this one.
	return "a device in another network namespace"
}

// adjustVXLAN makes a device right that is the tunnel already, and reports whether it
// was not.
func (h *Handle) adjustVXLAN(have *netlink.Vxlan, want VXLAN, bridge int) (changed bool, err error) {
	// A port's own IPv6 address would make the host speak on the network.
	if err := h.fs.SetSysctl("net/ipv6/conf/"+want.Name+"/disable_ipv6", "1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if have.Alias != want.Alias {
		if err := h.SetAlias(want.Name, want.Alias); err != nil {
			return false, err
		}
		changed = true
	}
	if have.MTU != want.MTU {
		if err := h.nl.LinkSetMTU(have, want.MTU); err != nil {
			return changed, fmt.Errorf("set MTU %d: %w", want.MTU, err)
		}
		changed = true
	}
	if have.MasterIndex != bridge {
		if err := h.nl.LinkSetMasterByIndex(have, bridge); err != nil {
			return changed, fmt.Errorf("make it a port of %s: %w", want.Bridge, err)
		}
		changed = true
	}
	told, err := h.setDeaf(have)
	changed = changed || told
	if err != nil {
		return changed, err
	}
	if have.RawFlags&unix.IFF_UP == 0 {
		err := h.nl.LinkSetUp(have)
		if errors.Is(err, unix.EADDRINUSE) {
			return changed, fmt.Errorf("set up: %w: %d", ErrPortTaken, want.Port)
		}
		if err != nil {
			return changed, fmt.Errorf("set up: %w", err)
		}
		changed = true
	}
	return changed, nil
}

// setDeaf keeps the bridge from learning by a port, and from sending out by it what
// the bridge can answer itself. It reports whether that was not so.
func (h *Handle) setDeaf(port netlink.Link) (changed bool, err error) {
	info, err := retry(func() (netlink.Protinfo, error) { return h.nl.LinkGetProtinfo(port) })
	if err != nil {
		return false, fmt.Errorf("read settings of the port: %w", err)
	}
	if info.Learning {
		if err := h.nl.LinkSetLearning(port, false); err != nil {
			return false, fmt.Errorf("switch learning off: %w", err)
		}
		changed = true
	}
	if !info.NeighSuppress {
		if err := h.nl.LinkSetBrNeighSuppress(port, true); err != nil {
			return changed, fmt.Errorf("switch neigh_suppress on: %w", err)
		}
		changed = true
	}
	return changed, nil
}

// Carrier returns the device that has one of the host's addresses, or an error that
// wraps [ErrNotFound].
func (h *Handle) Carrier(addr netip.Addr) (Link, error) {
	list, err := retry(func() ([]netlink.Addr, error) { return h.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return Link{}, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range list {
		if p, ok := prefixFrom(a.IPNet); !ok || p.Addr() != addr {
			continue
		}
		l, err := retry(func() (netlink.Link, error) { return h.nl.LinkByIndex(a.LinkIndex) })
		if err != nil {
			return Link{}, fmt.Errorf("find the device that has %s: %w", addr, err)
		}
		return fromNetlink(l), nil
	}
	return Link{}, fmt.Errorf("find the device that has %s: %w", addr, ErrNotFound)
}
