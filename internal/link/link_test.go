package link_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/link"
	"github.com/ournet/ournet/internal/netnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// enter puts the test into a namespace of its own and returns a handle on it.
func enter(t testing.TB) (*netnstest.Namespace, *link.Handle) {
	t.Helper()
	ns := netnstest.Enter(t)
	h, err := link.New(hostfs.New("/"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return ns, h
}

func mustLink(t *testing.T, h *link.Handle, name string) link.Link {
	t.Helper()
	l, err := h.Link(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestDelete_missingIsFine(t *testing.T) {
	t.Parallel()
	_, h := enter(t)
	if err := h.Delete("nothing"); err != nil {
		t.Error(err)
	}
	if _, err := h.Link("nothing"); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("Link = %v, want %v", err, link.ErrNotFound)
	}
	if err := h.SetAlias("nothing", "x"); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("SetAlias = %v, want %v", err, link.ErrNotFound)
	}
}

func TestLinks_tellsMasterAndPeer(t *testing.T) {
	t.Parallel()
	ns, h := enter(t)
	ns.Exec(t, "ip", "link", "add", "br.with.dots", "type", "bridge")
	ns.Exec(t, "ip", "link", "add", "v1", "mtu", "1400", "master", "br.with.dots", "type", "veth", "peer", "name", "v2")
	if err := h.SetAlias("v1", "ournet:x:1"); err != nil {
		t.Fatal(err)
	}
	links, err := h.Links()
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]link.Link)
	for _, l := range links {
		byName[l.Name] = l
	}
	want := link.Link{
		Name: "v1", Kind: "veth", Master: "br.with.dots", MasterIndex: byName["br.with.dots"].Index,
		MTU: 1400, Alias: "ournet:x:1", PeerIndex: byName["v2"].Index,
	}
	if diff := cmp.Diff(want, byName["v1"], cmpopts.IgnoreFields(link.Link{}, "Index", "MAC")); diff != "" {
		t.Error(diff)
	}
	if !byName["lo"].Up || byName["lo"].Kind != "device" {
		t.Errorf("lo = %+v", byName["lo"])
	}
}

func TestRoutes_onlyThoseThatPlaceASubnet(t *testing.T) {
	t.Parallel()
	ns, h := enter(t)
	other := netnstest.New(t)
	netnstest.Pair(t, ns, netnstest.Port{Name: "eth0", Addrs: []string{"192.0.2.1/24", "2001:db8::1/64"}},
		other, netnstest.Port{Name: "eth0"})
	ns.Route(t, "default", "192.0.2.2")
	ns.Route(t, "default", "2001:db8::2")
	ns.Route(t, "198.51.100.0/25", "192.0.2.2")
	ns.Exec(t, "ip", "route", "add", "169.254.0.0/16", "dev", "eth0")
	ns.Exec(t, "ip", "route", "add", "blackhole", "203.0.113.0/24")
	ns.Exec(t, "ip", "route", "add", "10.9.0.0/16", "nexthop", "via", "192.0.2.2", "nexthop", "via", "192.0.2.3")
	ns.Exec(t, "ip", "route", "add", "10.8.0.0/16", "via", "192.0.2.2", "table", "77")
	got, err := h.Routes()
	if err != nil {
		t.Fatal(err)
	}
	want := []link.Route{
		{Dst: netip.MustParsePrefix("10.9.0.0/16"), Dev: "eth0"},
		{Dst: netip.MustParsePrefix("192.0.2.0/24"), Dev: "eth0"},
		{Dst: netip.MustParsePrefix("198.51.100.0/25"), Dev: "eth0"},
		{Dst: netip.MustParsePrefix("2001:db8::/64"), Dev: "eth0"},
		{Dst: netip.MustParsePrefix("203.0.113.0/24")},
	}
	opts := []cmp.Option{
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmpopts.SortSlices(func(a, b link.Route) bool { return a.Dst.String() < b.Dst.String() }),
	}
	if diff := cmp.Diff(want, got, opts...); diff != "" {
		t.Error(diff)
	}
}
