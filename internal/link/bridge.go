package link

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Bridge says what a network's bridge should be.
type Bridge struct {
	Name string
	// MTU in bytes; 0 leaves it to the kernel, which takes the least of the ports'.
	MTU int
	// Addrs are its addresses with their prefix lengths.
	Addrs []netip.Prefix
	// MAC is the hardware address. The zero value means one derived from the
	// first of Addrs as Docker derives containers', or a random one without Addrs.
	MAC [6]byte
	// IPv6 says that the network has it. Without, the bridge's IPv6 is off, so
	// that containers cannot reach the host by link-local addresses.
	IPv6 bool
	// Silent keeps the host from speaking on the bridge: it answers ARP for none of its
	// addresses there, and has no link-local one. IPv6 stays what IPv6 says.
	Silent bool
	// LeaveIPv4 leaves IPv4 addresses alone that are not in Addrs: the user gives the
	// bridge one, or gives it to another device.
	LeaveIPv4 bool
	// Alias marks the bridge as made by us. Its part up to the first colon is
	// common to all of ours, and the whole is this network's own.
	Alias string
	// Own says that nobody else can mean this name, so that a bridge of it without
	// an alias is one that we had no time to mark: the alias comes after the bridge.
	Own bool
}

// Ensured says what [Handle.EnsureBridge] found and did.
type Ensured struct {
	// Created says that there was no such bridge.
	Created bool
	// Changed says that it was there and not as asked; also true when Created.
	Changed bool
	// Adopted says that a user made the bridge, so that it is not ours to delete.
	Adopted bool
}

// EnsureBridge makes the bridge, or makes an existing one right.
//
// A bridge with our alias gets exactly the asked addresses (IPv6 link-local ones
// are left alone). A bridge without an alias of ours was made by the user: as the
// engine does, it is adopted; it is set up and gets the addresses it lacks, and
// nothing that the user set on it is changed. Anything else of that name, and the
// bridge of another of our networks, is an error that wraps [ErrTaken].
//
// The MAC is fixed: otherwise the kernel gives a bridge the least MAC of its
// ports, and the gateway's would change with containers that come and go
// (br_stp_recalculate_bridge_id). If a new bridge cannot be finished it is removed.
func (h *Handle) EnsureBridge(want Bridge) (Ensured, error) {
	have, err := h.Link(want.Name)
	if errors.Is(err, ErrNotFound) {
		err = h.createBridge(want)
		if err == nil {
			return Ensured{Created: true, Changed: true}, nil
		}
		if !errors.Is(err, unix.EEXIST) {
			return Ensured{}, err
		}
		have, err = h.Link(want.Name) // made by someone else since we looked
	}
	if err != nil {
		return Ensured{}, err
	}
	if err := claim(have, want); err != nil {
		return Ensured{}, err
	}
	var got Ensured
	if have.Alias == "" && want.Own {
		if err := h.SetAlias(want.Name, want.Alias); err != nil {
			return Ensured{}, err
		}
		have.Alias, got.Changed = want.Alias, true
	}
	got.Adopted = have.Alias != want.Alias
	adjusted, err := h.adjustBridge(have, want, got.Adopted)
	got.Changed = got.Changed || adjusted
	if err != nil {
		return got, fmt.Errorf("bridge %s: %w", want.Name, err)
	}
	return got, nil
}

// claim reports why the device that exists cannot be the wanted bridge.
func claim(have Link, want Bridge) error {
	if have.Kind != "bridge" {
		return fmt.Errorf("bridge %s: %w by a device of kind %q", want.Name, ErrTaken, have.Kind)
	}
	family, _, ok := strings.Cut(want.Alias, ":")
	if ok && have.Alias != want.Alias && strings.HasPrefix(have.Alias, family+":") {
		return fmt.Errorf("bridge %s: %w by another network (%s)", want.Name, ErrTaken, have.Alias)
	}
	return nil
}

func (h *Handle) createBridge(want Bridge) error {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	mac := bridgeMAC(want)
	if mac == nil {
		mac = randomMAC()
	}
	req := h.request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, &unix.IfInfomsg{},
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(want.Name)),
		nl.NewRtAttr(unix.IFLA_ADDRESS, mac), info)
	if err := execute(req); err != nil {
		return fmt.Errorf("create bridge %s: %w", want.Name, err)
	}
	err := h.finishBridge(want)
	if err != nil {
		err = errors.Join(fmt.Errorf("create bridge %s: %w", want.Name, err), h.Delete(want.Name))
	}
	return err
}

// finishBridge is what cannot go into the message that makes a bridge: the kernel
// ignores an alias there, and does not keep an MTU (see [Handle.adjustBridge]).
func (h *Handle) finishBridge(want Bridge) error {
	if want.Alias != "" {
		if err := h.SetAlias(want.Name, want.Alias); err != nil {
			return err
		}
	}
	have, err := h.Link(want.Name)
	if err != nil {
		return err
	}
	_, err = h.adjustBridge(have, want, false)
	return err
}

// adjustBridge makes an existing bridge right and reports whether it was not.
func (h *Handle) adjustBridge(have Link, want Bridge, adopted bool) (changed bool, err error) {
	mac := bridgeMAC(want)
	device := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: want.Name, Index: have.Index}}
	if err := h.silence(want); err != nil {
		return false, err
	}
	if err := h.setBridgeIPv6(want, adopted); err != nil {
		return false, err
	}
	if !adopted && mac != nil && !bytes.Equal(have.MAC, mac) {
		if err := h.nl.LinkSetHardwareAddr(device, mac); err != nil {
			return false, fmt.Errorf("set MAC %s: %w", mac, err)
		}
		changed = true
	}
	// Set by a request of its own, the MTU stays; otherwise the kernel goes on to
	// follow the ports', and falls back to 1500 with the last (br_mtu_auto_adjust).
	if !adopted && want.MTU != 0 && have.MTU != want.MTU {
		if err := h.nl.LinkSetMTU(device, want.MTU); err != nil {
			return changed, fmt.Errorf("set MTU %d: %w", want.MTU, err)
		}
		changed = true
	}
	moved, err := h.setAddrs(device, want, adopted)
	changed = changed || moved
	if err != nil {
		return changed, err
	}
	if !have.Up {
		if err := h.nl.LinkSetUp(device); err != nil {
			return changed, fmt.Errorf("set up: %w", err)
		}
		changed = true
	}
	return changed, nil
}

// silence sets what [Bridge].Silent asks for. The host would answer ARP for every
// address that it has, on whatever device (ip-sysctl, arp_ignore).
func (h *Handle) silence(want Bridge) error {
	if !want.Silent {
		return nil
	}
	if err := h.fs.SetSysctl("net/ipv4/conf/"+want.Name+"/arp_ignore", "8"); err != nil {
		return err
	}
	err := h.fs.SetSysctl("net/ipv6/conf/"+want.Name+"/addr_gen_mode", "1")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without IPv6
	}
	return err
}

// setBridgeIPv6 switches IPv6 on or off, and keeps router advertisements that a
// container might send from changing the host's routes.
func (h *Handle) setBridgeIPv6(want Bridge, adopted bool) error {
	conf := "net/ipv6/conf/" + want.Name
	if want.IPv6 {
		if err := h.fs.SetSysctl(conf+"/disable_ipv6", "0"); err != nil || adopted {
			return err
		}
		return h.fs.SetSysctl(conf+"/accept_ra", "0")
	}
	if adopted {
		return nil
	}
	err := h.fs.SetSysctl(conf+"/disable_ipv6", "1")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without IPv6
	}
	return err
}

// setAddrs adds the addresses that are missing and, unless keep, removes the others.
func (h *Handle) setAddrs(device netlink.Link, want Bridge, keep bool) (changed bool, err error) {
	have, err := retry(func() ([]netlink.Addr, error) { return h.nl.AddrList(device, netlink.FAMILY_ALL) })
	if err != nil {
		return false, fmt.Errorf("list addresses: %w", err)
	}
	var present []netip.Prefix
	for _, a := range have {
		p, ok := prefixFrom(a.IPNet)
		if !ok || p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			continue
		}
		if keep || want.LeaveIPv4 && p.Addr().Is4() || slices.Contains(want.Addrs, p) {
			present = append(present, p)
			continue
		}
		if err := h.nl.AddrDel(device, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return changed, fmt.Errorf("remove address %s: %w", p, err)
		}
		changed = true
	}
	for _, p := range want.Addrs {
		if slices.Contains(present, p) {
			continue
		}
		// No duplicate address detection: it would keep the gateway from answering
		// for a second, and the bridge's owner hands out the address only once.
		addr := &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD}
		if err := h.nl.AddrAdd(device, addr); err != nil && !errors.Is(err, unix.EEXIST) {
			return changed, fmt.Errorf("add address %s: %w", p, err)
		}
		changed = true
	}
	return changed, nil
}

// RemoveAddrs takes addresses off a device that stays, such as a bridge that was
// adopted. A missing address or device is fine.
func (h *Handle) RemoveAddrs(name string, addrs []netip.Prefix) error {
	index, err := h.index(name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	device := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, Index: index}}
	var errs []error
	for _, p := range addrs {
		err := h.nl.AddrDel(device, &netlink.Addr{IPNet: ipNet(p)})
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("remove address %s from %s: %w", p, name, err))
		}
	}
	return errors.Join(errs...)
}

// bridgeMAC returns the MAC that the bridge should have, nil for any. One that
// follows from the address outlives a boot, so no neighbour's cache goes stale.
func bridgeMAC(want Bridge) net.HardwareAddr {
	if want.MAC != [6]byte{} {
		return want.MAC[:]
	}
	if len(want.Addrs) == 0 {
		return nil
	}
	a := want.Addrs[0].Addr().AsSlice()
	return append(net.HardwareAddr{0x02, 0x42}, a[len(a)-4:]...)
}

func randomMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	_, _ = rand.Read(mac)        // it never fails (crypto/rand since Go 1.24)
	mac[0] = mac[0]&^0x01 | 0x02 // unicast, locally administered
	return mac
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixFrom(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr.Unmap(), ones), true
}
