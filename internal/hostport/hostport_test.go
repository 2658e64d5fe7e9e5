package hostport_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ournet/ournet/internal/hostport"
	"github.com/ournet/ournet/internal/netnstest"
)

const (
	tcp  = unix.IPPROTO_TCP
	udp  = unix.IPPROTO_UDP
	sctp = unix.IPPROTO_SCTP
)

var (
	all4      = netip.IPv4Unspecified()
	all6      = netip.IPv6Unspecified()
	loopback4 = netip.MustParseAddr("127.0.0.1")
	loopback6 = netip.IPv6Loopback()
)

// holder returns one in a namespace of its own.
func holder(t *testing.T) *hostport.Holder {
	t.Helper()
	netnstest.Enter(t)
	h := hostport.New()
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func hold(t *testing.T, h *hostport.Holder, proto uint8, addr netip.Addr, want uint16) uint16 {
	t.Helper()
	port, err := h.Hold(proto, addr, want)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// listen opens a server as Go programs do, with SO_REUSEADDR for TCP.
func listen(t *testing.T, network, addr string) (io.Closer, error) {
	t.Helper()
	var lc net.ListenConfig
	if strings.HasPrefix(network, "udp") {
		return lc.ListenPacket(t.Context(), network, addr)
	}
	return lc.Listen(t.Context(), network, addr)
}

func TestHold_anotherProgramGetsAddressInUse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		proto   uint8
		addr    netip.Addr
		network string
		listen  string
		free    bool
	}{
		{"tcp same", tcp, loopback4, "tcp4", "127.0.0.1:8080", false},
		{"tcp all over one", tcp, all4, "tcp4", "127.0.0.1:8080", false},
		{"tcp one under all", tcp, loopback4, "tcp4", "0.0.0.0:8080", false},
		{"tcp dual stack", tcp, all4, "tcp", ":8080", false},
		{"tcp other address", tcp, loopback4, "tcp4", "127.0.0.2:8080", true},
		{"tcp other port", tcp, all4, "tcp4", "0.0.0.0:8081", true},
		{"tcp other family", tcp, all4, "tcp6", "[::]:8080", true},
		{"tcp IPv6", tcp, all6, "tcp6", "[::1]:8080", false},
		{"tcp IPv6 leaves IPv4", tcp, all6, "tcp4", "0.0.0.0:8080", true},
		{"udp same", udp, all4, "udp4", "0.0.0.0:8080", false},
		{"udp IPv6", udp, loopback6, "udp6", "[::]:8080", false},
		{"udp leaves tcp", udp, all4, "tcp4", "0.0.0.0:8080", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := holder(t)
			hold(t, h, tc.proto, tc.addr, 8080)
			server, err := listen(t, tc.network, tc.listen)
			if err == nil {
				if err := server.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if tc.free && err != nil {
				t.Errorf("listen %s %s: %v", tc.network, tc.listen, err)
			}
			if !tc.free && !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("listen %s %s: %v, want %v", tc.network, tc.listen, err, syscall.EADDRINUSE)
			}
		})
	}
}

// A server may set both options that let sockets share a port.
func TestHold_noOptionSharesThePort(t *testing.T) {
	t.Parallel()
	h := holder(t)
	hold(t, h, tcp, all4, 8080)
	chosen := hold(t, h, tcp, all4, 0)
	hold(t, h, udp, all4, 8080)
	for _, port := range []uint16{8080, chosen} {
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return errors.Join(c.Control(func(fd uintptr) {
				for _, o := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
					if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, o, 1); err != nil {
						t.Error(err)
					}
				}
			}))
		}}
		addr := fmt.Sprintf("0.0.0.0:%d", port)
		if l, err := lc.Listen(t.Context(), "tcp4", addr); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("tcp %s: %v, %v", addr, l, err)
		}
		if port != 8080 {
			continue
		}
		if l, err := lc.ListenPacket(t.Context(), "udp4", addr); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("udp %s: %v, %v", addr, l, err)
		}
	}
}

func TestHold_takenPortIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	h := holder(t)
	server, err := listen(t, "tcp4", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close() //nolint:errcheck // the test is over
	_, err = h.Hold(tcp, all4, 8080)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "host port 0.0.0.0:8080/tcp is already in use") {
		t.Errorf("err = %v", err)
	}
	if got := h.Held(); len(got) != 0 {
		t.Errorf("held = %v", got)
	}
}

func TestHold_ourOwnPortsExcludeEachOther(t *testing.T) {
	t.Parallel()
	one := netip.MustParseAddr("127.0.0.2")
	for _, tc := range []struct {
		name          string
		proto         uint8
		first, second netip.Addr
		excluded      bool
	}{
		{"same", tcp, one, one, true},
		{"all after one", tcp, one, all4, true},
		{"one after all", tcp, all4, one, true},
		{"two addresses", tcp, one, loopback4, false},
		{"two families", tcp, all4, all6, false},
		{"sctp", sctp, all4, one, true},
		{"sctp families", sctp, all6, all4, false},
		{"udp", udp, all6, loopback6, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := holder(t)
			hold(t, h, tc.proto, tc.first, 8080)
			_, err := h.Hold(tc.proto, tc.second, 8080)
			if !tc.excluded {
				if err != nil {
					t.Error(err)
				}
				return
			}
			ours := hostport.Port{Protocol: tc.proto, Addr: tc.first, Port: 8080}.String()
			if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), ours) {
				t.Errorf("err = %v, want %v that names %s", err, syscall.EADDRINUSE, ours)
			}
		})
	}
}

func TestHold_zeroSparesReservedPorts(t *testing.T) {
	t.Parallel()
	for _, proto := range []uint8{tcp, udp, sctp} {
		ns := netnstest.Enter(t)
		ns.Exec(t, "sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40007", "net.ipv4.ip_local_reserved_ports=40000-40003,40006")
		h := hostport.New()
		got := make(map[uint16]bool)
		for range 3 {
			got[hold(t, h, proto, all4, 0)] = true
		}
		if !got[40004] || !got[40005] || !got[40007] {
			t.Errorf("protocol %d: got %v, want all that are not reserved", proto, got)
		}
		if port, err := h.Hold(proto, all4, 0); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("protocol %d: a fourth is %d, %v", proto, port, err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestHold_zeroIsAPortOfTheLocalRange(t *testing.T) {
	t.Parallel()
	for _, proto := range []uint8{tcp, udp, sctp} {
		h := holder(t)
		seen := make(map[uint16]bool)
		for range 50 {
			port := hold(t, h, proto, all4, 0)
			if port < 32768 || seen[port] { // the kernel's default range begins there
				t.Errorf("protocol %d: port %d", proto, port)
			}
			seen[port] = true
		}
	}
}

func TestHold_foreignAddressIsRefused(t *testing.T) {
	t.Parallel()
	h := holder(t)
	_, err := h.Hold(tcp, netip.MustParseAddr("192.0.2.1"), 8080)
	if !errors.Is(err, hostport.ErrNotLocal) || !strings.Contains(err.Error(), "192.0.2.1 is not an address of this host") {
		t.Errorf("err = %v", err)
	}
}

func TestRelease_freesThePortAtOnceAndTwiceIsFine(t *testing.T) {
	t.Parallel()
	h := holder(t)
	for _, proto := range []uint8{tcp, udp, sctp} {
		for range 3 {
			hold(t, h, proto, all4, 8080)
			for range 2 {
				if err := h.Release(proto, all4, 8080); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	server, err := listen(t, "tcp", ":8080")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
}

// A user moves a service into a container: the host's own server stops, with
// connections of the last minute still in TIME_WAIT, and the port is published.
func TestHold_recentConnectionsAreNoObstacle(t *testing.T) {
	t.Parallel()
	h := holder(t)
	var lc net.ListenConfig
	server, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		conn, err := server.Accept()
		if err == nil {
			err = conn.Close() // who closes first keeps the TIME_WAIT
		}
		done <- err
	}()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp4", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(conn.Close(), <-done, server.Close()); err != nil {
		t.Fatal(err)
	}
	hold(t, h, tcp, all4, 8080)
	if l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:8080"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("another server: %v, %v; want %v", l, err, syscall.EADDRINUSE)
	}
}

// Where no rule takes a connection away, the client is refused at once.
func TestHold_connectionIsRefusedNotSwallowed(t *testing.T) {
	t.Parallel()
	h := holder(t)
	hold(t, h, tcp, all4, 8080)
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp4", "127.0.0.1:8080")
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v, %v; want %v", conn, err, syscall.ECONNREFUSED)
	}
}

func TestEnsure_heldIsFineAndTakenIsNot(t *testing.T) {
	t.Parallel()
	h := holder(t)
	for range 2 {
		if err := h.Ensure(tcp, all4, 8080); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Ensure(tcp, loopback4, 8080); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Ensure = %v, want %v", err, syscall.EADDRINUSE)
	}
	want := []hostport.Port{{Protocol: tcp, Addr: all4, Port: 8080}}
	if diff := cmp.Diff(want, h.Held(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestHold_concurrentCallsNeverShareAPort(t *testing.T) {
	t.Parallel()
	ns := netnstest.New(t)
	h := hostport.New()
	const callers = 50
	var (
		wg    sync.WaitGroup
		ports = make(chan uint16, callers)
	)
	for range callers {
		wg.Go(func() {
			if err := ns.Do(func() error {
				for port := uint16(9000); ; port++ {
					_, err := h.Hold(tcp, all4, port)
					if !errors.Is(err, syscall.EADDRINUSE) {
						ports <- port
						return err
					}
				}
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(ports)
	seen := make(map[uint16]bool)
	for p := range ports {
		if seen[p] {
			t.Errorf("port %d twice", p)
		}
		seen[p] = true
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}
