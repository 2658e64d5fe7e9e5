package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Inside says what the container side of a veth should be in its sandbox.
type Inside struct {
	// Sandbox is the path of the network namespace on the host.
	Sandbox string
	// Name is the interface's name, if it is to have a certain one and that is free.
	Name string
	// Prefix begins its name otherwise; it gets the least number that is free, as it
	// had when it was the only one that is missing.
	Prefix string
	// Addrs are its addresses with their prefix lengths.
	Addrs []netip.Prefix
	// Gateways are where the default routes lead, at most one of each family. A
	// family that has a default route by another interface keeps that.
	Gateways []netip.Addr
	// OnLink are further subnets that are reached without a gateway.
	OnLink []netip.Prefix
}

// RestoreVeth makes a pair anew whose container side is in a running sandbox already,
// where the engine would not put it again. It reports false if there is no such
// sandbox any more.
func (h *Handle) RestoreVeth(want Veth, in Inside) (done bool, err error) {
	sandbox, err := h.openSandbox(in.Sandbox)
	if err != nil || sandbox == nil {
		return false, err
	}
	defer func() { err = errors.Join(err, sandbox.Close()) }()
	bridge, err := h.index(want.Bridge)
	if err != nil {
		return false, err
	}
	inside, err := netlink.NewHandleAt(netns.NsHandle(sandbox.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return false, fmt.Errorf("open netlink socket in %s: %w", in.Sandbox, err)
	}
	defer inside.Close()
	if err := inside.SetSocketTimeout(timeout); err != nil {
		return false, fmt.Errorf("set netlink timeout: %w", err)
	}
	if want.Peer, err = freeName(inside, in); err != nil {
		return false, err
	}
	sandboxFD := nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(sandbox.Fd()))) //nolint:gosec // a descriptor is small
	if err := h.createVeth(want, bridge, sandboxFD); err != nil {
		return false, fmt.Errorf("veth %s into %s: %w", want.Host, in.Sandbox, err)
	}
	if want.Isolated {
		err = h.SetIsolated(want.Host, true)
	}
	if err = errors.Join(err, h.setUpInside(inside, sandbox, want.Peer, in)); err != nil {
		return false, errors.Join(fmt.Errorf("veth %s into %s: %w", want.Host, in.Sandbox, err), h.Delete(want.Host))
	}
	return true, nil
}

// openSandbox returns nil if there is no namespace at the path: the engine leaves the
// file for a while that it was mounted on.
func (h *Handle) openSandbox(path string) (*os.File, error) {
	f, err := os.Open(h.fs.Path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // a sandbox that is gone is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("open sandbox: %w", err)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return nil, errors.Join(fmt.Errorf("look at sandbox %s: %w", path, err), f.Close())
	}
	if st.Type != unix.NSFS_MAGIC {
		return nil, f.Close()
	}
	return f, nil
}

func freeName(inside *netlink.Handle, in Inside) (string, error) {
	list, err := retry(inside.LinkList)
	if err != nil {
		return "", fmt.Errorf("list devices of the sandbox: %w", err)
	}
	taken := make(map[string]bool, len(list))
	for _, l := range list {
		taken[l.Attrs().Name] = true
	}
	if in.Name != "" && !taken[in.Name] {
		return in.Name, nil
	}
	for i := 0; ; i++ {
		if name := fmt.Sprintf("%s%d", in.Prefix, i); !taken[name] {
			return name, nil
		}
	}
}

func (h *Handle) setUpInside(inside *netlink.Handle, sandbox *os.File, name string, in Inside) error {
	device, err := inside.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s in the sandbox: %w", name, err)
	}
	if err := h.setInsideIPv6(sandbox, name, in); err != nil {
		return err
	}
	for _, p := range in.Addrs {
		if err := inside.AddrAdd(device, &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("add address %s: %w", p, err)
		}
	}
	if err := inside.LinkSetUp(device); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	for _, dst := range in.OnLink {
		r := &netlink.Route{LinkIndex: device.Attrs().Index, Dst: ipNet(dst), Scope: unix.RT_SCOPE_LINK}
		if err := inside.RouteAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add route to %s: %w", dst, err)
		}
	}
	for _, gw := range in.Gateways {
		if err := addDefaultRoute(inside, device, gw); err != nil {
			return err
		}
	}
	return nil
}

func addDefaultRoute(inside *netlink.Handle, device netlink.Link, gw netip.Addr) error {
	r := &netlink.Route{LinkIndex: device.Attrs().Index, Gw: gw.AsSlice(), Dst: ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0))}
	if gw.Is6() {
		r.Dst = ipNet(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	}
	if err := inside.RouteAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add default route by %s: %w", gw, err)
	}
	return nil
}

// setInsideIPv6 switches the interface's IPv6 on if it has such an address, and off if
// not, as the engine does (moby daemon/libnetwork/osl, setInterfaceIPv6).
func (h *Handle) setInsideIPv6(sandbox *os.File, name string, in Inside) error {
	value := "1"
	for _, p := range in.Addrs {
		if p.Addr().Is6() {
			value = "0"
		}
	}
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread is in another namespace and ends with this.
		runtime.LockOSThread()
		err := netns.Set(netns.NsHandle(sandbox.Fd()))
		if err == nil {
			err = h.fs.SetSysctl("net/ipv6/conf/"+name+"/disable_ipv6", value)
		}
		done <- err
	}()
	err := <-done
	if errors.Is(err, fs.ErrNotExist) && value == "1" {
		return nil // a kernel without IPv6
	}
	if err != nil {
		return fmt.Errorf("switch IPv6 of %s: %w", name, err)
	}
	return nil
}
