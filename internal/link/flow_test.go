package link_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/link"
	"github.com/ournet/ournet/internal/netnstest"
)

// trackedFlow is a flow that the kernel knows: src calls dst, and peer answers.
type trackedFlow struct {
	protocol       uint8
	src, dst, peer string
}

func family(a netip.AddrPort) netlink.InetFamily {
	if a.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// track makes the kernel know a flow.
func track(t testing.TB, f trackedFlow) {
	t.Helper()
	src, dst, peer := netip.MustParseAddrPort(f.src), netip.MustParseAddrPort(f.dst), netip.MustParseAddrPort(f.peer)
	flow := &netlink.ConntrackFlow{
		FamilyType: uint8(family(src)), TimeOut: 600,
		Forward: netlink.IPTuple{Protocol: f.protocol, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice(), SrcPort: src.Port(), DstPort: dst.Port()},
		Reverse: netlink.IPTuple{Protocol: f.protocol, SrcIP: peer.Addr().AsSlice(), DstIP: src.Addr().AsSlice(), SrcPort: peer.Port(), DstPort: src.Port()},
	}
	if f.protocol == unix.IPPROTO_TCP {
		flow.ProtoInfo = &netlink.ProtoInfoTCP{State: 3} // established
	}
	if err := netlink.ConntrackCreate(netlink.ConntrackTable, family(src), flow); err != nil {
		t.Fatalf("track %v: %v", f, err)
	}
}

// tracked returns the flows that the kernel knows.
func tracked(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, fam := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, fam)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range flows {
			src, _ := netip.AddrFromSlice(f.Forward.SrcIP)
			dst, _ := netip.AddrFromSlice(f.Forward.DstIP)
			all = append(all, netip.AddrPortFrom(src.Unmap(), f.Forward.SrcPort).String()+" to "+netip.AddrPortFrom(dst.Unmap(), f.Forward.DstPort).String())
		}
	}
	slices.Sort(all)
	return all
}

func newHandle(t testing.TB) *link.Handle {
	t.Helper()
	h, err := link.New(hostfs.New("/"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func TestForgetAddrs_forgetsBothDirectionsAndNothingElse(t *testing.T) {
	t.Parallel()
	netnstest.Enter(t)
	h := newHandle(t)
	for _, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		for _, f := range []trackedFlow{
			{protocol, "10.1.0.2:1000", "192.0.2.9:53", "192.0.2.9:53"},            // out
			{protocol, "192.0.2.9:1000", "192.0.2.1:8080", "10.1.0.2:80"},          // in, by a published port
			{protocol, "10.1.0.1:1000", "10.1.0.2:80", "10.1.0.2:80"},              // from the host
			{protocol, "[2001:db8::9]:1000", "[2001:db8::1]:8080", "[fd00::2]:80"}, // in, by IPv6
			{protocol, "[fd00::2]:1000", "[2001:db8::9]:53", "[2001:db8::9]:53"},   // out, by IPv6
			{protocol, "10.1.0.3:1000", "192.0.2.9:53", "192.0.2.9:53"},            // another's
			{protocol, "192.0.2.9:1001", "192.0.2.1:8081", "10.1.0.3:80"},          // likewise
			{protocol, "[2001:db8::9]:1001", "[2001:db8::1]:8081", "[fd00::3]:80"}, // likewise
			{protocol, "192.0.2.9:1002", "192.0.2.1:8080", "192.0.2.1:8080"},       // to the host itself
		} {
			track(t, f)
		}
	}
	if err := h.ForgetAddrs(netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd00::2")); err != nil {
		t.Fatal(err)
	}
	left := tracked(t)
	want := []string{
		"10.1.0.3:1000 to 192.0.2.9:53", "192.0.2.9:1001 to 192.0.2.1:8081", "192.0.2.9:1002 to 192.0.2.1:8080",
		"[2001:db8::9]:1001 to [2001:db8::1]:8081",
	}
	var twice []string
	for _, w := range want {
		twice = append(twice, w, w)
	}
	if !slices.Equal(left, twice) {
		t.Errorf("left are\n%s\nwant each twice\n%s", strings.Join(left, "\n"), strings.Join(want, "\n"))
	}
}

func TestForgetFlows_forgetsWhatWentElsewhere(t *testing.T) {
	t.Parallel()
	ns := netnstest.Enter(t)
	ns.Exec(t, "ip", "address", "add", "192.0.2.1/24", "dev", "lo")
	h := newHandle(t)
	const udp = unix.IPPROTO_UDP
	for _, f := range []trackedFlow{
		{udp, "192.0.2.9:1000", "192.0.2.1:5300", "10.1.0.2:53"},      // where it may go
		{udp, "192.0.2.9:1001", "192.0.2.1:5300", "10.1.0.3:53"},      // to the former container
		{udp, "192.0.2.9:1002", "192.0.2.1:5300", "192.0.2.1:5300"},   // to nobody
		{udp, "192.0.2.9:1003", "192.0.2.1:5301", "192.0.2.1:5301"},   // another port
		{udp, "192.0.2.9:1004", "198.51.100.7:5300", "10.1.0.3:5300"}, // not this host's
	} {
		track(t, f)
	}
	port := link.HostPort{
		Protocol: udp, Addr: netip.IPv4Unspecified(), Port: 5300, Keep: netip.MustParseAddrPort("10.1.0.2:53"),
	}
	for _, ports := range [][]link.HostPort{{port}, {port, {Protocol: udp, Addr: netip.IPv4Unspecified(), Port: 5999}}} {
		track(t, trackedFlow{udp, "192.0.2.9:1005", "192.0.2.1:5300", "10.1.0.3:53"})
		if err := h.ForgetFlows(ports...); err != nil {
			t.Fatal(err)
		}
		want := []string{"192.0.2.9:1000 to 192.0.2.1:5300", "192.0.2.9:1003 to 192.0.2.1:5301", "192.0.2.9:1004 to 198.51.100.7:5300"}
		if left := tracked(t); !slices.Equal(left, want) {
			t.Errorf("left are\n%s\nwant\n%s", strings.Join(left, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestForgetFlows_onlyThoseThatAreMeant(t *testing.T) {
	t.Parallel()
	ns := netnstest.Enter(t)
	ns.Exec(t, "ip", "address", "add", "192.0.2.1/24", "dev", "lo")
	h := newHandle(t)
	const udp = unix.IPPROTO_UDP
	for _, f := range []trackedFlow{
		{udp, "192.0.2.9:1000", "192.0.2.1:53", "10.1.0.2:53"},     // to a container
		{udp, "192.0.2.9:1001", "192.0.2.1:53", "192.0.2.1:28533"}, // to us
		{udp, "192.0.2.9:1002", "192.0.2.1:53", "192.0.2.1:53"},
	} {
		track(t, f)
	}
	addr := netip.MustParseAddr("192.0.2.1")
	if err := h.ForgetFlows(link.HostPort{Protocol: udp, Addr: addr, Port: 53, Only: netip.AddrPortFrom(addr, 53)}); err != nil {
		t.Fatal(err)
	}
	want := []string{"192.0.2.9:1000 to 192.0.2.1:53", "192.0.2.9:1001 to 192.0.2.1:53"}
	if left := tracked(t); !slices.Equal(left, want) {
		t.Errorf("left are\n%s\nwant\n%s", strings.Join(left, "\n"), strings.Join(want, "\n"))
	}
}

// BenchmarkForgetAddrs is what the end of a container costs on a host with 100,000
// flows of others.
func BenchmarkForgetAddrs(b *testing.B) {
	netnstest.Enter(b)
	h := newHandle(b)
	for i := range 100_000 {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), uint16(1024+i>>16))
		track(b, trackedFlow{unix.IPPROTO_UDP, src.String(), "192.0.2.1:8080", "10.1.0.3:80"})
	}
	addr := netip.MustParseAddr("10.1.0.2")
	b.ResetTimer()
	var longest time.Duration
	for range b.N {
		for i := range 10 {
			track(b, trackedFlow{unix.IPPROTO_UDP, netip.AddrPortFrom(addr, uint16(1000+i)).String(), "192.0.2.9:53", "192.0.2.9:53"})
		}
		began := time.Now()
		if err := h.ForgetAddrs(addr); err != nil {
			b.Fatal(err)
		}
		longest = max(longest, time.Since(began))
	}
	b.ReportMetric(float64(longest.Milliseconds()), "ms-longest")
}
