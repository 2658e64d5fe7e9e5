package link_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ournet/ournet/internal/link"
)

func wantVXLAN() link.VXLAN {
	return link.VXLAN{
		Name: "onx1", Bridge: "on-1", VNI: 4711, Local: netip.MustParseAddr("127.0.0.1"), Port: 4789, MTU: 1450, Alias: alias,
	}
}

func ensureVXLAN(t *testing.T, h *link.Handle, want link.VXLAN) link.Ensured {
	t.Helper()
	got, err := h.EnsureVXLAN(want)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestEnsureVXLAN_makesItAndMakesItRight(t *testing.T) {
	t.Parallel()
	ns, h := bridged(t)
	if got := ensureVXLAN(t, h, wantVXLAN()); got != (link.Ensured{Created: true, Changed: true}) {
		t.Errorf("first: %+v", got)
	}
	details := ns.Exec(t, "ip", "-d", "link", "show", "onx1")
	for _, word := range []string{"vxlan id 4711 local 127.0.0.1", "dstport 4789", "nolearning", "mtu 1450", "master on-1", "neigh_suppress on", "learning off"} {
		if !strings.Contains(details, word) {
			t.Errorf("want %q in\n%s", word, details)
		}
	}
	for _, tc := range []struct {
		harm    string
		created bool
	}{
		{"ip link set onx1 down", false},
		{"ip link set onx1 nomaster", false},
		{"ip link set onx1 mtu 1300", false},
		{"ip link set onx1 type bridge_slave learning on", false},
		{"ip link set onx1 type bridge_slave neigh_suppress off", false},
		{"ip link set onx1 type vxlan id 4711 learning", true},
		{"ip link del onx1", true},
	} {
		ns.Exec(t, "sh", "-c", tc.harm)
		if got := ensureVXLAN(t, h, wantVXLAN()); !got.Changed || got.Created != tc.created {
			t.Errorf("after %q: %+v, want a change", tc.harm, got)
		}
		if got := ensureVXLAN(t, h, wantVXLAN()); got != (link.Ensured{}) {
			t.Errorf("after the repair of %q: %+v, want nothing done", tc.harm, got)
		}
	}
	moved := wantVXLAN()
	moved.Local = netip.MustParseAddr("::1")
	if got := ensureVXLAN(t, h, moved); !got.Created {
		t.Errorf("another address: %+v, want it made anew", got)
	}
}

func TestEnsureVXLAN_saysWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	ns, h := bridged(t)
	ns.Exec(t, "ip", "link", "add", "theirs", "type", "vxlan", "id", "4711", "dstport", "4789", "local", "127.0.0.1")
	if _, err := h.EnsureVXLAN(wantVXLAN()); !errors.Is(err, link.ErrVNITaken) || !strings.Contains(err.Error(), "theirs") {
		t.Errorf("VNI in use: %v", err)
	}
	ns.Exec(t, "ip", "link", "del", "theirs")
	var conn net.PacketConn
	ns.Run(t, func() (err error) {
		conn, err = net.ListenPacket("udp", ":4789")
		return err
	})
	if _, err := h.EnsureVXLAN(wantVXLAN()); !errors.Is(err, link.ErrPortTaken) || !strings.Contains(err.Error(), "4789") {
		t.Errorf("port in use: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Link("onx1"); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("the device is left: %v", err)
	}
	ns.Exec(t, "ip", "link", "add", "onx1", "type", "bridge")
	if _, err := h.EnsureVXLAN(wantVXLAN()); !errors.Is(err, link.ErrTaken) {
		t.Errorf("name in use: %v", err)
	}
}

func TestPut_replacesAndTakeRemoves(t *testing.T) {
	t.Parallel()
	ns, h := bridged(t)
	ensureVXLAN(t, h, wantVXLAN())
	mac, other := [6]byte{2, 0, 0, 0, 0, 1}, [6]byte{2, 0, 0, 0, 0, 2}
	tunnel := func(mac [6]byte, vtep string) link.Entry {
		return link.Entry{Kind: link.TunnelEntry, Device: "onx1", MAC: mac, Addr: netip.MustParseAddr(vtep)}
	}
	neighbour := func(mac [6]byte, addr string) link.Entry {
		return link.Entry{Kind: link.NeighbourEntry, Device: "on-1", MAC: mac, Addr: netip.MustParseAddr(addr)}
	}
	port := link.Entry{Kind: link.PortEntry, Device: "onx1", MAC: mac}
	want := []link.Entry{
		tunnel(mac, "192.0.2.2"), tunnel([6]byte{}, "192.0.2.2"), tunnel([6]byte{}, "192.0.2.3"), port, neighbour(other, "10.1.0.2"),
	}
	for _, e := range append([]link.Entry{tunnel(mac, "192.0.2.9"), neighbour(mac, "10.1.0.2")}, append(want, want...)...) {
		if err := h.Put(e); err != nil {
			t.Fatal(err)
		}
	}
	if got := entries(t, h); !sameEntries(got, want) {
		t.Errorf("entries = %v, want %v", got, want)
	}
	// What the kernel finds out by itself is not told.
	ns.Exec(t, "ip", "neigh", "add", "10.1.0.9", "lladdr", "02:00:00:00:00:09", "dev", "on-1", "nud", "stale")
	ns.Exec(t, "bridge", "fdb", "add", "02:00:00:00:00:09", "dev", "onx1", "master", "dynamic")
	if got := entries(t, h); !sameEntries(got, want) {
		t.Errorf("entries = %v, want %v", got, want)
	}
	for _, e := range append(want, want...) {
		if err := h.Take(e); err != nil {
			t.Fatal(err)
		}
	}
	if got := entries(t, h); len(got) > 0 {
		t.Errorf("entries = %v, want none", got)
	}
	gone := link.Entry{Kind: link.PortEntry, Device: "gone", MAC: mac}
	if err := h.Take(gone); err != nil {
		t.Errorf("Take of a device that is gone: %v", err)
	}
	if err := h.Put(gone); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("Put on a device that is gone: %v", err)
	}
}

// entries returns those of the two devices.
func entries(t *testing.T, h *link.Handle) []link.Entry {
	t.Helper()
	all, err := h.Entries()
	if err != nil {
		t.Fatal(err)
	}
	return append(all["on-1"], all["onx1"]...)
}

func sameEntries(a, b []link.Entry) bool {
	sorted := func(list []link.Entry) []string {
		var out []string
		for _, e := range list {
			out = append(out, e.String())
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(sorted(a), sorted(b))
}
