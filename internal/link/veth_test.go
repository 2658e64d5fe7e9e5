package link_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ournet/ournet/internal/link"
	"github.com/ournet/ournet/internal/netnstest"
)

func wantVeth() link.Veth {
	return link.Veth{Host: "onv1", Peer: "onp1", Bridge: "on-1", MTU: 1400, PeerMAC: net.HardwareAddr{2, 0x42, 10, 1, 0, 2}}
}

// bridged returns a handle on a new namespace with the bridge on-1.
func bridged(t testing.TB) (*netnstest.Namespace, *link.Handle) {
	t.Helper()
	ns, h := enter(t)
	if _, err := h.EnsureBridge(link.Bridge{Name: "on-1", Addrs: prefixes("10.1.0.1/24"), Alias: alias}); err != nil {
		t.Fatal(err)
	}
	return ns, h
}

func ensureVeth(t *testing.T, h *link.Handle, want link.Veth) {
	t.Helper()
	if err := h.EnsureVeth(want); err != nil {
		t.Fatal(err)
	}
}

// checkVeth fails the test unless the pair is as wanted, both ends in this namespace.
func checkVeth(t *testing.T, h *link.Handle, want link.Veth) {
	t.Helper()
	host, peer := mustLink(t, h, want.Host), mustLink(t, h, want.Peer)
	ignore := cmpopts.IgnoreFields(link.Link{}, "Index", "MAC", "PeerIndex")
	bridge := mustLink(t, h, want.Bridge).Index
	if diff := cmp.Diff(link.Link{Name: want.Host, Kind: "veth", MasterIndex: bridge, MTU: want.MTU, Up: true}, host, ignore); diff != "" {
		t.Errorf("host side: %s", diff)
	}
	if diff := cmp.Diff(link.Link{Name: want.Peer, Kind: "veth", MTU: want.MTU}, peer, ignore); diff != "" {
		t.Errorf("container side: %s", diff)
	}
	if host.PeerIndex != peer.Index || peer.PeerIndex != host.Index {
		t.Errorf("host side %+v and container side %+v are not a pair", host, peer)
	}
	if want.PeerMAC != nil && peer.MAC.String() != want.PeerMAC.String() {
		t.Errorf("MAC %s, want %s", peer.MAC, want.PeerMAC)
	}
}

func TestEnsureVeth_isMadeComplete(t *testing.T) {
	t.Parallel()
	_, h := bridged(t)
	ensureVeth(t, h, wantVeth())
	checkVeth(t, h, wantVeth())
	before := mustLink(t, h, "onv1")
	ensureVeth(t, h, wantVeth())
	if diff := cmp.Diff(before, mustLink(t, h, "onv1")); diff != "" {
		t.Errorf("the second call changed it: %s", diff)
	}
}

func TestSetHairpin_onAndOff(t *testing.T) {
	t.Parallel()
	ns, h := bridged(t)
	ensureVeth(t, h, wantVeth())
	for _, on := range []bool{true, true, false} {
		if err := h.SetHairpin("onv1", on); err != nil {
			t.Fatal(err)
		}
		got := ns.Exec(t, "bridge", "-d", "link", "show", "dev", "onv1")
		if strings.Contains(got, "hairpin on") != on {
			t.Errorf("hairpin %t: %s", on, got)
		}
	}
	if err := h.SetHairpin("nothing", true); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("missing device: %v, want %v", err, link.ErrNotFound)
	}
}

func TestEnsureVeth_zerosMeanAnyMACAndTheDefaultMTU(t *testing.T) {
	t.Parallel()
	_, h := bridged(t)
	want := link.Veth{Host: "onv1", Peer: "onp1", Bridge: "on-1", PeerMAC: make(net.HardwareAddr, 6)}
	ensureVeth(t, h, want)
	want.MTU, want.PeerMAC = 1500, nil
	checkVeth(t, h, want)
}

func TestEnsureVeth_wrongPairThatNobodyUsesIsMadeAnew(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		harm [][]string
	}{
		{"container side renamed", [][]string{{"link", "set", "onp1", "name", "other"}}},
		{"container side's MAC", [][]string{{"link", "set", "onp1", "address", "02:00:00:00:00:01"}}},
		{"container side's MTU", [][]string{{"link", "set", "onp1", "mtu", "1300"}}},
		{"host side's MTU", [][]string{{"link", "set", "onv1", "mtu", "1300"}}},
		{"host side off the bridge", [][]string{{"link", "set", "onv1", "nomaster"}}},
		{"host side down", [][]string{{"link", "set", "onv1", "down"}}},
		{"host side renamed", [][]string{{"link", "set", "onv1", "down"}, {"link", "set", "onv1", "name", "other"}}},
		{"container side of another pair", [][]string{
			{"link", "del", "onv1"},
			{"link", "add", "onv1", "type", "veth", "peer", "name", "x1"},
			{"link", "add", "x2", "type", "veth", "peer", "name", "onp1"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ns, h := bridged(t)
			ensureVeth(t, h, wantVeth())
			for _, args := range tc.harm {
				ns.Exec(t, "ip", args...)
			}
			ensureVeth(t, h, wantVeth())
			checkVeth(t, h, wantVeth())
		})
	}
}

func TestEnsureVeth_pairInUseIsPutRightInPlace(t *testing.T) {
	t.Parallel()
	ns, h := bridged(t)
	container := netnstest.New(t)
	ensureVeth(t, h, wantVeth())
	container.Take(t, ns, "onp1", netnstest.Port{Name: "eth0", Addrs: []string{"10.1.0.2/24"}})
	ns.Exec(t, "ping", "-c1", "-W2", "10.1.0.2")
	before := mustLink(t, h, "onv1").Index

	// The bridge is lost and made again: its ports are ports no longer.
	if err := h.Delete("on-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.EnsureBridge(link.Bridge{Name: "on-1", Addrs: prefixes("10.1.0.1/24"), Alias: alias}); err != nil {
		t.Fatal(err)
	}
	ns.Exec(t, "ip", "link", "set", "onv1", "down")
	ensureVeth(t, h, wantVeth())
	if after := mustLink(t, h, "onv1"); after.Index != before || !after.PeerElsewhere {
		t.Errorf("host side = %+v, want the same device %d", after, before)
	}
	ns.Exec(t, "ping", "-c1", "-W2", "10.1.0.2")
}

func TestEnsureVeth_failureLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		veth link.Veth
		want error
	}{
		{"no bridge", link.Veth{Host: "onv1", Peer: "onp1", Bridge: "none"}, link.ErrNotFound},
		{"no bridge but a device", link.Veth{Host: "onv1", Peer: "onp1", Bridge: "lo"}, nil},
		{"impossible MTU", link.Veth{Host: "onv1", Peer: "onp1", Bridge: "on-1", MTU: 1 << 20}, nil},
		{"name of another kind", link.Veth{Host: "lo", Peer: "onp1", Bridge: "on-1"}, link.ErrTaken},
		{"peer's name of another kind", link.Veth{Host: "onv1", Peer: "lo", Bridge: "on-1"}, link.ErrTaken},
		{"same name twice", link.Veth{Host: "onv1", Peer: "onv1", Bridge: "on-1"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, h := bridged(t)
			err := h.EnsureVeth(tc.veth)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("err = %v, want %v", err, tc.want)
			}
			links, err := h.Links()
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range links {
				if l.Name != "lo" && l.Name != "on-1" {
					t.Errorf("left over: %+v", l)
				}
			}
		})
	}
}

func BenchmarkEnsureVeth(b *testing.B) {
	_, h := bridged(b)
	want := link.Veth{Host: "onv1", Peer: "onp1", Bridge: "on-1", MTU: 1450, PeerMAC: net.HardwareAddr{2, 0x42, 10, 1, 0, 2}}
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			if err := h.EnsureVeth(want); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := h.Delete(want.Host); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("present", func(b *testing.B) {
		for b.Loop() {
			if err := h.EnsureVeth(want); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("delete", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			if err := h.EnsureVeth(want); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if err := h.Delete(want.Host); err != nil {
				b.Fatal(err)
			}
		}
	})
}
