package firewall_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/link"
	"github.com/ournet/ournet/internal/netnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a host with bridge networks and containers, and a machine outside.
type lab struct {
	host, outside *netnstest.Namespace
	// containers by name: the first letter is that of their network.
	containers map[string]*netnstest.Namespace
	table      *firewall.Table
	servers    []server
}

// server is one that runs in a namespace, and its address there.
type server struct {
	ns   *netnstest.Namespace
	addr string
}

// The addresses of the lab. Network n has 10.n.0.0/24 and fd00:n::/64, its bridge is
// .1 and its containers .11, .12.
const (
	hostAddr     = "192.0.2.1"
	outsideAddr  = "192.0.2.2"
	hostAddr6    = "2001:db8::1"
	outsideAddr6 = "2001:db8::2"
	// The host has them too, but uses them only when told.
	hostAlias  = "192.0.2.9"
	hostAlias6 = "2001:db8::9"
)

// networks of the lab by the letter of their containers.
func networks() map[string]firewall.Network {
	masquerade := firewall.Gateway{Masquerade: true}
	source := func(addr string) firewall.Gateway {
		return firewall.Gateway{Masquerade: true, Source: netip.MustParseAddr(addr)}
	}
	routed, open := firewall.Gateway{Routed: true}, firewall.Gateway{Masquerade: true, Unprotected: true}
	all := map[string]firewall.Network{
		"a": {Bridge: "on-a", IPv4: masquerade, IPv6: masquerade, ICC: true},
		"b": {Bridge: "on-b", IPv4: masquerade, IPv6: masquerade},
		"c": {Bridge: "on-c", ICC: true},
		"i": {Bridge: "on-i", ICC: true, Internal: true},
		"r": {Bridge: "on-r", IPv4: routed, IPv6: routed, ICC: true},
		"s": {Bridge: "on-s", IPv4: source(hostAlias), IPv6: source(hostAlias6), ICC: true},
		"t": {Bridge: "on-t", IPv4: masquerade, IPv6: masquerade, ICC: true, Trusted: []string{"eth0"}},
		"u": {Bridge: "on-u", IPv4: open, IPv6: open, ICC: true},
	}
	for letter, n := range all {
		n.Subnets = []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/24", letter[0])),
			netip.MustParsePrefix(fmt.Sprintf("fd00:%d::/64", letter[0])),
		}
		all[letter] = n
	}
	return all
}

func addr4(container string) string {
	return fmt.Sprintf("10.%d.0.1%s", container[0], container[1:])
}

func addr6(container string) string {
	return fmt.Sprintf("fd00:%d::1%s", container[0], container[1:])
}

func ports() []firewall.Port {
	port := func(proto uint8, host string, hostPort uint16, to string) firewall.Port {
		p := firewall.Port{Protocol: proto, HostAddr: netip.MustParseAddr(host), HostPort: hostPort, Port: 80, Bridge: "on-" + to[:1]}
		p.Addr = netip.MustParseAddr(addr4(to))
		if p.HostAddr.Is6() {
			p.Addr = netip.MustParseAddr(addr6(to))
		}
		return p
	}
	open := func(host string, hostPort uint16, to string) firewall.Port {
		p := port(6, host, hostPort, to)
		p.Open = true
		return p
	}
	return []firewall.Port{
		open("0.0.0.0", 0, "r1"), open("::", 0, "r1"), open("127.0.0.1", 8087, "t1"), open(hostAddr6, 8087, "t1"),
		port(6, "0.0.0.0", 8080, "a1"), port(6, hostAddr, 8081, "a1"), port(6, "127.0.0.1", 8082, "a1"),
		port(6, "0.0.0.0", 8083, "b1"), port(17, "0.0.0.0", 8084, "a1"), port(6, "0.0.0.0", 8085, "c1"),
		port(6, "::", 8080, "a1"), port(6, hostAddr6, 8081, "a1"), port(6, "0.0.0.0", 8086, "i1"),
	}
}

func wantState() firewall.State {
	s := firewall.State{Ports: ports(), EngineBridges: []string{"docker0"}}
	for _, n := range networks() {
		s.Networks = append(s.Networks, n)
	}
	return s
}

// newLab builds the lab, without any rules.
func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{host: netnstest.New(t), outside: netnstest.New(t), containers: make(map[string]*netnstest.Namespace)}
	netnstest.Pair(t, l.host, netnstest.Port{Name: "eth0", Addrs: []string{hostAddr + "/24", hostAddr6 + "/64"}},
		l.outside, netnstest.Port{Name: "eth0", Addrs: []string{outsideAddr + "/24", outsideAddr6 + "/64"}})
	l.host.Exec(t, "ip", "address", "add", hostAlias+"/32", "dev", "eth0")
	l.host.Exec(t, "ip", "address", "add", hostAlias6+"/128", "dev", "eth0", "nodad", "preferred_lft", "0")
	l.sysctl(t, "net/ipv4/ip_forward", "1")
	l.sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	for letter, n := range networks() {
		l.addNetwork(t, letter, n.Bridge)
		// Someone outside who knows the subnets, and sends to them directly.
		l.outside.Route(t, n.Subnets[0].String(), hostAddr)
		l.outside.Route(t, n.Subnets[1].String(), hostAddr6)
	}
	l.addNetwork(t, "e", "docker0")
	l.serve(t, l.outside)
	l.ready(t)
	l.host.Run(t, func() (err error) {
		log := logrus.New()
		log.SetOutput(t.Output())
		l.table, err = firewall.New(log, hostfs.New("/"), firewall.Options{})
		return err
	})
	return l
}

// ready waits until every device is up, and every neighbour known to the host and the
// host to it: what is sent later is underway at once ([netnstest.Namespace.Settle]).
func (l *lab) ready(t *testing.T) {
	t.Helper()
	checks := []check{{"host", at(outsideAddr, 80), hostAddr}, {"host", at(outsideAddr6, 80), hostAddr6}}
	for name := range l.containers {
		checks = append(checks, check{"host", at(addr4(name), 80), gateway(name)}, check{"host", at(addr6(name), 80), gateway6(name)})
	}
	l.checkAll(t, checks)
}

// addNetwork makes a bridge with two containers.
func (l *lab) addNetwork(t *testing.T, letter, bridge string) {
	t.Helper()
	l.host.Run(t, func() error {
		h, err := link.New(hostfs.New("/"))
		if err != nil {
			return err
		}
		_, err = h.EnsureBridge(link.Bridge{Name: bridge, IPv6: true, Addrs: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("10.%d.0.1/24", letter[0])),
			netip.MustParsePrefix(fmt.Sprintf("fd00:%d::1/64", letter[0])),
		}})
		for _, n := range []string{"1", "2"} {
			v := link.Veth{Host: "v" + letter + n, Peer: "p" + letter + n, Bridge: bridge}
			err = errors.Join(err, h.EnsureVeth(v), h.SetHairpin(v.Host, true))
		}
		return errors.Join(err, h.Close())
	})
	l.sysctl(t, "net/ipv4/conf/"+bridge+"/route_localnet", "1")
	for _, n := range []string{"1", "2"} {
		c := netnstest.New(t)
		name := letter + n
		c.Take(t, l.host, "p"+name, netnstest.Port{Name: "eth0", Addrs: []string{addr4(name) + "/24", addr6(name) + "/64"}})
		// An internal network gives no default route; whoever sets one must not get out.
		c.Route(t, "default", fmt.Sprintf("10.%d.0.1", letter[0]))
		c.Route(t, "default", fmt.Sprintf("fd00:%d::1", letter[0]))
		l.containers[name] = c
		l.serve(t, c)
	}
}

func (l *lab) sysctl(t *testing.T, key, value string) {
	t.Helper()
	l.host.Run(t, func() error { return hostfs.New("/").SetSysctl(key, value) })
}

// set gives the firewall the whole state.
func (l *lab) set(t *testing.T, want firewall.State) []string {
	t.Helper()
	var changed []string
	l.host.Run(t, func() (err error) {
		changed, err = l.table.Set(t.Context(), want)
		return err
	})
	return changed
}

func (l *lab) namespace(name string) *netnstest.Namespace {
	switch name {
	case "host":
		return l.host
	case "outside":
		return l.outside
	default:
		return l.containers[name]
	}
}

// serve starts a server at port 80 of TCP and UDP that tells each client what
// address it came from.
func (l *lab) serve(t *testing.T, ns *netnstest.Namespace) {
	t.Helper()
	l.serveAt(t, ns, "[::]:80")
}

func (l *lab) serveAt(t *testing.T, ns *netnstest.Namespace, addr string) {
	t.Helper()
	var (
		tcp net.Listener
		udp net.PacketConn
	)
	ns.Run(t, func() (err error) {
		var lc net.ListenConfig
		if tcp, err = lc.Listen(t.Context(), "tcp", addr); err != nil {
			return err
		}
		udp, err = lc.ListenPacket(t.Context(), "udp", addr)
		return err
	})
	l.servers = append(l.servers, server{ns, addr})
	var wg sync.WaitGroup
	t.Cleanup(func() {
		if err := errors.Join(tcp.Close(), udp.Close()); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
	wg.Go(func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			_, err = io.WriteString(conn, source(conn.RemoteAddr()))
			if err = errors.Join(err, conn.Close()); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		buf := make([]byte, 16)
		for {
			_, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			if _, err := udp.WriteTo([]byte(source(from)), from); err != nil {
				t.Error(err)
			}
		}
	})
}

func source(a net.Addr) string {
	return netip.MustParseAddrPort(a.String()).Addr().Unmap().String()
}

// What a check wants that is not to get through: nothing or a refusal at all, or the
// refusal that lets a client try elsewhere at once.
const (
	blocked = "blocked"
	refused = "refused"
)

// check is one connection ("ADDRESS:PORT") or datagram ("udp ADDRESS:PORT") and the
// source that the server should see.
type check struct{ from, to, want string }

func (c check) target() (network string, to netip.AddrPort) {
	network, addr, ok := strings.Cut(c.to, " ")
	if !ok {
		network, addr = "tcp", c.to
	}
	return network, netip.MustParseAddrPort(addr)
}

// patience is more than an answer takes, but on a busy machine its reader may wait for
// its turn.
const patience = 10 * time.Second

// reach connects and returns the source that the server saw.
func (l *lab) reach(ctx context.Context, c check) (seen string, err error) {
	network, to := c.target()
	err = l.namespace(c.from).Do(func() error {
		d := net.Dialer{Timeout: patience}
		conn, err := d.DialContext(ctx, network, to.String())
		if err != nil {
			return err
		}
		buf := make([]byte, 64)
		_, err = conn.Write([]byte("?"))
		if err = errors.Join(err, conn.SetReadDeadline(time.Now().Add(patience))); err == nil {
			var n int
			n, err = conn.Read(buf)
			seen = string(buf[:n])
		}
		return errors.Join(err, conn.Close())
	})
	return seen, err
}

// checkAll makes all connections that are to be made at once, then tries the others.
func (l *lab) checkAll(t *testing.T, checks []check) {
	t.Helper()
	var (
		wg       sync.WaitGroup
		attempts = make(map[check]*netnstest.Attempt)
	)
	for _, c := range checks {
		if c.want == blocked || c.want == refused {
			continue
		}
		wg.Go(func() {
			if got, err := l.reach(t.Context(), c); err != nil || got != c.want {
				t.Errorf("%s to %s: got %s, %v; want %s", c.from, c.to, got, err, c.want)
			}
		})
	}
	wg.Wait()
	for _, c := range checks {
		if c.want == blocked || c.want == refused {
			network, to := c.target()
			attempts[c] = l.namespace(c.from).Attempt(t, network, to)
		}
	}
	l.settle(t)
	for c, a := range attempts {
		got, err := a.Outcome()
		if err != nil || got == netnstest.Answer || c.want == refused && got != netnstest.Refusal {
			t.Errorf("%s to %s: got %s, %v; want %s", c.from, c.to, got, err, c.want)
		}
	}
}

// settle waits until everything that was sent has arrived, was read, and is answered.
func (l *lab) settle(t *testing.T) {
	t.Helper()
	l.outside.Settle(t)
	// Each server reads and answers one datagram after the other.
	for _, s := range l.servers {
		s.ns.Run(t, func() error {
			var d net.Dialer
			conn, err := d.DialContext(t.Context(), "udp", s.addr)
			if err != nil {
				return err
			}
			_, err = conn.Write([]byte("?"))
			if err = errors.Join(err, conn.SetReadDeadline(time.Now().Add(patience))); err == nil {
				_, err = conn.Read(make([]byte, 64))
			}
			return errors.Join(err, conn.Close())
		})
	}
	l.outside.Settle(t)
}
