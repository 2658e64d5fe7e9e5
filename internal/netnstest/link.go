package netnstest

import (
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// Port is one end of a cable, or a container's interface.
type Port struct {
	// Name of the device.
	Name string
	// Addrs are the addresses to put on it, with their prefix lengths.
	Addrs []string
}

// Pair joins two namespaces by a veth cable, with addresses on it, both ends up.
func Pair(t testing.TB, a *Namespace, pa Port, b *Namespace, pb Port) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = pa.Name
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: pb.Name,
		PeerNamespace: netlink.NsFd(int(b.handle)),
	}
	if err := a.nl.LinkAdd(veth); err != nil {
		t.Fatalf("make cable %s-%s: %v", pa.Name, pb.Name, err)
	}
	a.configure(t, pa)
	b.configure(t, pb)
}

// Take moves a device of another namespace into this one, as the engine does with
// a container's interface, renames it to p.Name, and puts up addresses.
func (ns *Namespace) Take(t testing.TB, from *Namespace, device string, p Port) {
	t.Helper()
	l, err := from.nl.LinkByName(device)
	if err != nil {
		t.Fatalf("find %s: %v", device, err)
	}
	if err := from.nl.LinkSetNsFd(l, int(ns.handle)); err != nil {
		t.Fatalf("move %s: %v", device, err)
	}
	if l, err = ns.nl.LinkByName(device); err != nil {
		t.Fatalf("find %s after the move: %v", device, err)
	}
	if err := ns.nl.LinkSetName(l, p.Name); err != nil {
		t.Fatalf("rename %s: %v", device, err)
	}
	ns.configure(t, p)
}

// Route adds a route; the destination "default" is 0.0.0.0/0 or ::/0.
func (ns *Namespace) Route(t testing.TB, dst, via string) {
	t.Helper()
	gw := netip.MustParseAddr(via)
	r := &netlink.Route{Gw: gw.AsSlice()}
	if dst != "default" {
		r.Dst = ipNet(netip.MustParsePrefix(dst))
	}
	if err := ns.nl.RouteAdd(r); err != nil {
		t.Fatalf("add route %s via %s: %v", dst, via, err)
	}
}

// Exec runs a program inside the namespace and returns what it wrote.
func (ns *Namespace) Exec(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := ns.TryExec(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// TryExec is [Namespace.Exec] for a program that may fail.
func (ns *Namespace) TryExec(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	var out []byte
	err := ns.Do(func() error {
		var err error
		out, err = exec.CommandContext(t.Context(), name, args...).CombinedOutput()
		return err
	})
	return string(out), err
}

func (ns *Namespace) configure(t testing.TB, p Port) {
	t.Helper()
	l, err := ns.nl.LinkByName(p.Name)
	if err != nil {
		t.Fatalf("find %s: %v", p.Name, err)
	}
	for _, s := range p.Addrs {
		addr := &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(s)), Flags: nodad}
		if err := ns.nl.AddrAdd(l, addr); err != nil {
			t.Fatalf("add %s to %s: %v", s, p.Name, err)
		}
	}
	ns.up(t, p.Name)
}

// nodad is IFA_F_NODAD: a test need not wait a second for each IPv6 address.
const nodad = 0x02

func (ns *Namespace) up(t testing.TB, name string) {
	t.Helper()
	l, err := ns.nl.LinkByName(name)
	if err != nil {
		t.Fatalf("find %s: %v", name, err)
	}
	if err := ns.nl.LinkSetUp(l); err != nil {
		t.Fatalf("set %s up: %v", name, err)
	}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
