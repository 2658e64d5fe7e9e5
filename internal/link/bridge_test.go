package link_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/link"
	"github.com/ournet/ournet/internal/netnstest"
)

const alias = "ournet:test:0123"

// addrs returns the global addresses of a device, as the kernel lists them.
func addrs(t *testing.T, name string) []string {
	t.Helper()
	dev, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	list, err := dev.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range list {
		if p := netip.MustParsePrefix(a.String()); !p.Addr().IsLinkLocalUnicast() {
			out = append(out, p.String())
		}
	}
	return out
}

func ensure(t *testing.T, h *link.Handle, b link.Bridge) link.Ensured {
	t.Helper()
	got, err := h.EnsureBridge(b)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestEnsureBridge_isMadeCompleteAndThenLeftAlone(t *testing.T) {
	t.Parallel()
	_, h := enter(t)
	want := link.Bridge{Name: "on-1", MTU: 1400, Addrs: prefixes("10.1.0.1/24", "fd00:1::1/64"), IPv6: true, Alias: alias}
	if got := ensure(t, h, want); got != (link.Ensured{Created: true, Changed: true}) {
		t.Errorf("first = %+v", got)
	}
	if got := ensure(t, h, want); got != (link.Ensured{}) {
		t.Errorf("second = %+v, want nothing done", got)
	}
	l := mustLink(t, h, "on-1")
	if l.Kind != "bridge" || l.MTU != 1400 || !l.Up || l.Alias != alias || l.MAC.String() != "02:42:0a:01:00:01" {
		t.Errorf("bridge = %+v", l)
	}
	if diff := cmp.Diff([]string{"10.1.0.1/24", "fd00:1::1/64"}, addrs(t, "on-1")); diff != "" {
		t.Error(diff)
	}
}

func TestEnsureBridge_whatWasChangedIsRepaired(t *testing.T) {
	t.Parallel()
	want := link.Bridge{Name: "on-1", MTU: 1400, Addrs: prefixes("10.1.0.1/24", "fd00:1::1/64"), IPv6: true, Alias: alias}
	for _, tc := range []struct {
		name string
		harm []string
	}{
		{"down", []string{"link", "set", "on-1", "down"}},
		{"MTU", []string{"link", "set", "on-1", "mtu", "1300"}},
		{"MAC", []string{"link", "set", "on-1", "address", "02:00:00:00:00:01"}},
		{"address gone", []string{"addr", "del", "10.1.0.1/24", "dev", "on-1"}},
		{"prefix length", []string{"addr", "add", "10.1.0.1/16", "dev", "on-1"}},
		{"IPv6 address gone", []string{"addr", "del", "fd00:1::1/64", "dev", "on-1"}},
		{"foreign address", []string{"addr", "add", "10.7.0.1/24", "dev", "on-1"}},
		{"deleted", []string{"link", "del", "on-1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ns, h := enter(t)
			ensure(t, h, want)
			ns.Exec(t, "ip", tc.harm...)
			if got := ensure(t, h, want); !got.Changed || got.Adopted {
				t.Errorf("after the harm: %+v, want a change", got)
			}
			if got := ensure(t, h, want); got != (link.Ensured{}) {
				t.Errorf("after the repair: %+v, want nothing done", got)
			}
			if diff := cmp.Diff([]string{"10.1.0.1/24", "fd00:1::1/64"}, addrs(t, "on-1")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEnsureBridge_portsThatComeAndGoChangeNothing(t *testing.T) {
	t.Parallel()
	ns, h := enter(t)
	for _, mtu := range []int{0, 1400, 9000} {
		want := link.Bridge{Name: "on-1", MTU: mtu, Addrs: prefixes("10.1.0.1/24"), Alias: alias}
		ensure(t, h, want)
		before := mustLink(t, h, "on-1")
		// A lower MAC than the bridge's, and another MTU.
		ns.Exec(t, "ip", "link", "add", "v1", "mtu", "1280", "address", "00:00:00:00:00:01", "type", "veth", "peer", "name", "v2")
		ns.Exec(t, "ip", "link", "set", "v1", "master", "on-1", "up")
		during := mustLink(t, h, "on-1")
		ns.Exec(t, "ip", "link", "del", "v1")
		after := mustLink(t, h, "on-1")
		if before.MAC.String() != during.MAC.String() || before.MAC.String() != after.MAC.String() {
			t.Errorf("MTU %d: MAC %v, %v, %v", mtu, before.MAC, during.MAC, after.MAC)
		}
		if mtu != 0 && (during.MTU != mtu || after.MTU != mtu) {
			t.Errorf("MTU %d became %d, %d", mtu, during.MTU, after.MTU)
		}
		if got := ensure(t, h, want); got.Changed {
			t.Errorf("MTU %d: changed afterwards", mtu)
		}
		if err := h.Delete("on-1"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEnsureBridge_withoutIPv6HasNoLinkLocalAddress(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		ipv6      bool
		addrs     []netip.Prefix
		disabled  string
		advertise string
	}{
		{false, prefixes("10.1.0.1/24"), "1", "1"},
		{true, prefixes("fd00:1::1/64"), "0", "0"},
	} {
		_, h := enter(t)
		ensure(t, h, link.Bridge{Name: "on-1", Addrs: tc.addrs, IPv6: tc.ipv6, Alias: alias})
		for key, want := range map[string]string{"disable_ipv6": tc.disabled, "accept_ra": tc.advertise} {
			got, err := hostfs.New("/").Sysctl("net/ipv6/conf/on-1/" + key)
			if err != nil || got != want {
				t.Errorf("IPv6 %t: %s = %q, %v; want %s", tc.ipv6, key, got, err, want)
			}
		}
	}
}

func TestEnsureBridge_usersBridgeIsAdopted(t *testing.T) {
	t.Parallel()
	ns, h := enter(t)
	ns.Exec(t, "ip", "link", "add", "br0", "mtu", "1300", "address", "02:00:00:00:00:99", "type", "bridge")
	ns.Exec(t, "ip", "addr", "add", "192.0.2.1/24", "dev", "br0")
	want := link.Bridge{Name: "br0", MTU: 1400, Addrs: prefixes("10.1.0.1/24"), Alias: alias}
	if got := ensure(t, h, want); got != (link.Ensured{Changed: true, Adopted: true}) {
		t.Errorf("first = %+v", got)
	}
	if got := ensure(t, h, want); got != (link.Ensured{Adopted: true}) {
		t.Errorf("second = %+v, want nothing done", got)
	}
	l := mustLink(t, h, "br0")
	if l.MTU != 1300 || l.MAC.String() != "02:00:00:00:00:99" || l.Alias != "" || !l.Up {
		t.Errorf("bridge = %+v, want the user's settings, and up", l)
	}
	if diff := cmp.Diff([]string{"192.0.2.1/24", "10.1.0.1/24"}, addrs(t, "br0")); diff != "" {
		t.Error(diff)
	}
	for range 2 {
		if err := h.RemoveAddrs("br0", want.Addrs); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"192.0.2.1/24"}, addrs(t, "br0")); diff != "" {
		t.Error(diff)
	}
}

func TestEnsureBridge_takenNameIsRefusedAndUntouched(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		make func(*testing.T, *netnstest.Namespace, *link.Handle)
	}{
		{"another kind", func(t *testing.T, ns *netnstest.Namespace, _ *link.Handle) {
			ns.Exec(t, "ip", "link", "add", "on-1", "type", "veth", "peer", "name", "v2")
		}},
		{"another network", func(t *testing.T, _ *netnstest.Namespace, h *link.Handle) {
			ensure(t, h, link.Bridge{Name: "on-1", Alias: "ournet:test:4567"})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ns, h := enter(t)
			tc.make(t, ns, h)
			before := mustLink(t, h, "on-1")
			_, err := h.EnsureBridge(link.Bridge{Name: "on-1", Addrs: prefixes("10.1.0.1/24"), Alias: alias})
			if !errors.Is(err, link.ErrTaken) {
				t.Errorf("err = %v, want %v", err, link.ErrTaken)
			}
			if diff := cmp.Diff(before, mustLink(t, h, "on-1")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEnsureBridge_failureLeavesNoDevice(t *testing.T) {
	t.Parallel()
	_, h := enter(t)
	// The kernel refuses the multicast address, after the bridge was made.
	_, err := h.EnsureBridge(link.Bridge{Name: "on-1", Addrs: prefixes("ff02::1/64"), IPv6: true, Alias: alias})
	if err == nil || !strings.Contains(err.Error(), "ff02::1/64") {
		t.Errorf("err = %v, want one that names the address", err)
	}
	if _, err := h.Link("on-1"); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("Link = %v, want %v", err, link.ErrNotFound)
	}
}
