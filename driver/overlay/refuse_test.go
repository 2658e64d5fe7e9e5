package overlay_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/ournet/ournet/driver"
)

// What cannot be is refused when the network is made, in one line that says what to do,
// and leaves nothing behind.
func TestEnsureNetwork_refusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		harm func(t *testing.T, l *lab)
		is   error
		says []string
	}{
		{"MTU that does not pass", func(_ *testing.T, l *lab) {
			l.net.Overlay.MTU = 1451
		}, driver.ErrOption, []string{"com.docker.network.driver.mtu=1451", "eth0", "192.0.2.1", "1500", "50", "1450"}},
		{"UDP port in use", func(t *testing.T, l *lab) {
			t.Helper()
			var conn net.PacketConn
			l.hosts[0].ns.Run(t, func() (err error) {
				conn, err = net.ListenPacket("udp", ":4789")
				return err
			})
			t.Cleanup(func() { must(t, conn.Close()) })
		}, driver.ErrInUse, []string{"4789", "VXLAN_PORT"}},
		{"VNI in use", func(t *testing.T, l *lab) {
			t.Helper()
			l.hosts[0].ns.Exec(t, "ip", "link", "add", "theirs", "type", "vxlan", "id", "1192961", "dstport", "4789", "local", "192.0.2.1")
		}, driver.ErrInUse, []string{"1192961", "theirs", "vni"}},
		{"subnet that the host routes", func(t *testing.T, l *lab) {
			t.Helper()
			l.hosts[0].ns.Exec(t, "ip", "route", "add", "10.1.0.0/16", "dev", "eth0")
		}, driver.ErrOverlap, []string{"10.1.0.0/24", "10.1.0.0/16", "eth0"}},
		{"an address of nobody", func(t *testing.T, l *lab) {
			t.Helper()
			l.hosts[0].ns.Exec(t, "ip", "address", "flush", "dev", "eth0")
		}, nil, []string{"192.0.2.1", "CLUSTER_ADVERTISE"}},
		{"no address", func(_ *testing.T, l *lab) { l.hosts[0].num = 0 }, nil, []string{"CLUSTER_ADVERTISE"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1, false)
			tc.harm(t, l)
			h := l.hosts[0]
			err := h.ns.Do(func() error { return h.EnsureNetwork(t.Context(), *l.net) })
			if err == nil || tc.is != nil && !errors.Is(err, tc.is) {
				t.Fatalf("EnsureNetwork = %v, want %v", err, tc.is)
			}
			for _, word := range tc.says {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error %q does not say %q", err, word)
				}
			}
			h.ns.Run(t, func() error { return h.RemoveNetwork(t.Context(), *l.net) }) // as the registry does then
			if left := h.ns.Exec(t, "sh", "-c", "ip -br link show | grep ^on || true"); left != "" {
				t.Errorf("left %q", left)
			}
		})
	}
}

func TestFitMTU_isTheLargestThatPasses(t *testing.T) {
	t.Parallel()
	for _, ipv6 := range []bool{false, true} {
		l := newLab(t, 1, ipv6)
		h := l.hosts[0]
		h.ns.Exec(t, "ip", "link", "set", "eth0", "mtu", "9000")
		for asked, want := range map[int]int{0: l.mtu() + 7500, 1300: 1300} {
			var got int
			h.ns.Run(t, func() (err error) {
				got, err = h.FitMTU(asked)
				return err
			})
			if got != want {
				t.Errorf("FitMTU(%d) = %d, want %d", asked, got, want)
			}
		}
	}
}

func TestCheck_namesTheOtherNetwork(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, false)
	h, first := l.hosts[0], *l.net
	sameVNI := l.network(2, "10.2.0.0/24")
	sameVNI.Overlay.VNI = first.Overlay.VNI
	overlapping := l.network(3, "10.3.0.0/24", "10.1.1.128/25")
	small := l.network(4, "10.4.0.0/24", "fd04::/64")
	small.Overlay.MTU = 1279
	none := l.network(5)
	bridge := l.network(6, "10.6.0.0/24")
	bridge.Overlay = nil
	other := driver.Network{ID: first.ID, Subnets: []driver.Subnet{{Pool: netip.MustParsePrefix("10.7.0.0/16")}}}
	for _, tc := range []struct {
		name string
		n    driver.Network
		want error
		says string
	}{
		{"beside", l.network(9, "10.9.0.0/24"), nil, ""},
		{"same VNI", sameVNI, driver.ErrInUse, first.ID.Short()},
		{"same subnet", overlapping, driver.ErrOverlap, first.ID.Short()},
		{"subnet of a bridge network", l.network(7, "10.7.1.0/24"), driver.ErrOverlap, "10.7.0.0/16"},
		{"MTU too small for IPv6", small, driver.ErrOption, "1280"},
		{"no subnet", none, driver.ErrOption, "subnet"},
		{"no cluster", bridge, driver.ErrOption, "CLUSTER_STORE"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := h.Check(tc.n, []driver.Network{first, other})
			if !errors.Is(err, tc.want) {
				t.Fatalf("Check = %v, want %v", err, tc.want)
			}
			if err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %q does not say %q", err, tc.says)
			}
		})
	}
}
