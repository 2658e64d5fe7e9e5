package link

import (
	"bytes"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Veth says what the pair of interfaces of an endpoint should be.
type Veth struct {
	// Host is the host side, a port of Bridge that is up.
	Host string
	// Peer is the container side, down, for the engine to move into a sandbox.
	Peer string
	// Bridge is the name of the bridge, which must exist.
	Bridge string
	// MTU of both sides in bytes; 0 means the kernel's default, 1500.
	MTU int
	// PeerMAC is the container side's hardware address; nil or zeros mean any.
	PeerMAC net.HardwareAddr
	// Isolated keeps the bridge from handing packets to other isolated ports.
	Isolated bool
}

// EnsureVeth makes the pair, or makes an existing one right.
//
// Every container start waits for this, so the usual case is one message to the
// kernel that makes both sides complete: names, MTU, MAC, bridge, host side up.
// The kernel undoes all of it if any part fails, so nothing is left over.
//
// If the pair exists and the container side is in a sandbox already, the host side
// is put right in place. A wrong pair that nobody uses is made anew.
func (h *Handle) EnsureVeth(want Veth) error {
	if !hasMAC(want.PeerMAC) {
		want.PeerMAC = nil
	}
	bridge, err := h.index(want.Bridge)
	if err != nil {
		return fmt.Errorf("veth %s on bridge %s: %w", want.Host, want.Bridge, err)
	}
	err = h.createVeth(want, bridge)
	if errors.Is(err, unix.EEXIST) {
		var done bool
		if done, err = h.reuseVeth(want, bridge); done && err == nil {
			return nil
		}
		if err == nil {
			err = h.createVeth(want, bridge)
		}
	}
	if err == nil && want.Isolated {
		if err = h.SetIsolated(want.Host, true); err != nil {
			return errors.Join(err, h.Delete(want.Host))
		}
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("veth %s on bridge %s: %w", want.Host, want.Bridge, notFound(err))
	if errors.Is(err, unix.EAGAIN) {
		// No answer in time; the kernel may have made it all the same.
		err = errors.Join(err, h.Delete(want.Host))
	}
	return err
}

// createVeth makes the pair. inPeer are further attributes of the container side.
func (h *Handle) createVeth(want Veth, bridge int, inPeer ...*nl.RtAttr) error {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(want.Peer))
	for _, a := range inPeer {
		peer.AddChild(a)
	}
	if hasMAC(want.PeerMAC) {
		peer.AddRtAttr(unix.IFLA_ADDRESS, want.PeerMAC)
	}
	attrs := []*nl.RtAttr{
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(want.Host)),
		nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(bridge))), //nolint:gosec // an index is positive
		info,
	}
	if want.MTU != 0 {
		mtu := nl.Uint32Attr(uint32(want.MTU)) //nolint:gosec // checked against 65535 where it was parsed
		attrs = append(attrs, nl.NewRtAttr(unix.IFLA_MTU, mtu))
		peer.AddRtAttr(unix.IFLA_MTU, mtu)
	}
	// One queue per side. The kernel's default is one per CPU, each with its files
	// in /sys; a veth sends without locks and queues nothing, so they serve nobody.
	one := nl.Uint32Attr(1)
	for _, t := range []int{unix.IFLA_NUM_TX_QUEUES, unix.IFLA_NUM_RX_QUEUES} {
		attrs = append(attrs, nl.NewRtAttr(t, one))
		peer.AddRtAttr(t, one)
	}
	msg := &unix.IfInfomsg{Flags: unix.IFF_UP, Change: unix.IFF_UP}
	return execute(h.request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, msg, attrs...))
}

// reuseVeth puts an existing pair right. If it cannot be, it is removed and done
// is false.
func (h *Handle) reuseVeth(want Veth, bridge int) (done bool, err error) {
	host, err := h.Link(want.Host)
	if errors.Is(err, ErrNotFound) {
		return false, h.removeStray(want.Peer)
	}
	if err != nil {
		return false, err
	}
	if host.Kind != "veth" {
		return false, fmt.Errorf("%w: %s by a device of kind %q", ErrTaken, want.Host, host.Kind)
	}
	if !host.PeerElsewhere {
		peer, err := h.Link(want.Peer)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return false, err
		}
		if err != nil || peer.Index != host.PeerIndex || !sameMAC(peer, want) || !sameMTU(peer, want) || !sameMTU(host, want) {
			if err := h.Delete(want.Host); err != nil {
				return false, err
			}
			return false, h.removeStray(want.Peer)
		}
	}
	return true, h.adjustHostSide(host, want, bridge)
}

// removeStray removes a veth that has the container side's name and is not the
// other end of our host side.
func (h *Handle) removeStray(name string) error {
	stray, err := h.Link(name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if stray.Kind != "veth" {
		return fmt.Errorf("%w: %s by a device of kind %q", ErrTaken, name, stray.Kind)
	}
	return h.Delete(name)
}

func (h *Handle) adjustHostSide(host Link, want Veth, bridge int) error {
	device := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: host.Name, Index: host.Index}}
	if !sameMTU(host, want) {
		if err := h.nl.LinkSetMTU(device, want.MTU); err != nil {
			return fmt.Errorf("set MTU %d: %w", want.MTU, err)
		}
	}
	if host.MasterIndex != bridge {
		if err := h.nl.LinkSetMasterByIndex(device, bridge); err != nil {
			return fmt.Errorf("make it a port: %w", err)
		}
	}
	if err := h.nl.LinkSetIsolated(device, want.Isolated); err != nil {
		return fmt.Errorf("set isolation: %w", err)
	}
	if !host.Up {
		if err := h.nl.LinkSetUp(device); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
	}
	return nil
}

// SetHairpin lets a bridge send a packet back through the port that it came from.
//
// A container needs it that calls its own published port: with br_netfilter the
// kernel finds out while bridging that the translated packet stays on this bridge,
// and forwards it like a frame (br_nf_pre_routing_finish). Ports without published
// ports do without, so that their broadcasts do not come back to them.
func (h *Handle) SetHairpin(name string, on bool) error {
	index, err := h.index(name)
	if err != nil {
		return fmt.Errorf("set hairpin: %w", err)
	}
	device := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, Index: index}}
	if err := h.nl.LinkSetHairpin(device, on); err != nil {
		return fmt.Errorf("set hairpin of %s: %w", name, err)
	}
	return nil
}

// SetIsolated keeps a bridge from handing packets from one isolated port to another,
// or lets it. What the host itself sends and gets is not concerned.
func (h *Handle) SetIsolated(name string, on bool) error {
	index, err := h.index(name)
	if err != nil {
		return fmt.Errorf("set isolation: %w", err)
	}
	device := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, Index: index}}
	if err := h.nl.LinkSetIsolated(device, on); err != nil {
		return fmt.Errorf("set isolation of %s: %w", name, err)
	}
	return nil
}

func sameMTU(l Link, want Veth) bool { return want.MTU == 0 || l.MTU == want.MTU }

func sameMAC(l Link, want Veth) bool { return want.PeerMAC == nil || bytes.Equal(l.MAC, want.PeerMAC) }

func hasMAC(mac net.HardwareAddr) bool {
	for _, b := range mac {
		if b != 0 {
			return true
		}
	}
	return false
}
