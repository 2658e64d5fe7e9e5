package overlay_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/netnstest"
)

// innerPort is where the containers listen for what was smuggled in.
const innerPort = 9999

// smuggled returns a packet of a tunnel: a VXLAN header, then an Ethernet frame with a
// UDP packet for a container (RFC 7348 section 5).
func smuggled(vni uint32, to *container, text string) []byte {
	var b []byte
	b = binary.BigEndian.AppendUint32(b, 0x08<<24)
	b = binary.BigEndian.AppendUint32(b, vni<<8)
	b = append(b, to.ep.MAC[:]...)
	b = append(b, 2, 0x42, 10, 1, 0, 200)
	b = binary.BigEndian.AppendUint16(b, 0x0800)
	dst := to.ep.Address.Addr().As4()
	header := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 200, dst[0], dst[1], dst[2], dst[3]}
	binary.BigEndian.PutUint16(header[2:], uint16(len(header)+8+len(text)))
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	binary.BigEndian.PutUint16(header[10:], ^uint16(sum+sum>>16))
	b = append(b, header...)
	for _, word := range []int{innerPort, innerPort, 8 + len(text), 0} { // no checksum
		b = binary.BigEndian.AppendUint16(b, uint16(word))
	}
	return append(b, text...)
}

// send sends a packet from a namespace to a UDP port.
func send(t *testing.T, from *netnstest.Namespace, to netip.AddrPort, packet []byte) {
	t.Helper()
	from.Run(t, func() error {
		conn, err := net.Dial("udp", to.String())
		if err != nil {
			return err
		}
		_, err = conn.Write(packet)
		return errors.Join(err, conn.Close())
	})
}

// tunnels is where a host gets packets of its tunnels.
func (h *host) tunnels() netip.AddrPort { return netip.AddrPortFrom(h.vtep(), udpPort) }

// listen returns what tells the next text that a container gets.
func (c *container) listen(t *testing.T) (next func() string) {
	t.Helper()
	var conn net.PacketConn
	c.Run(t, func() (err error) {
		conn, err = net.ListenPacket("udp4", fmt.Sprintf(":%d", innerPort))
		return err
	})
	t.Cleanup(func() { must(t, conn.Close()) })
	return func() string {
		t.Helper()
		must(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
		buf := make([]byte, 4096)
		n, _, err := conn.ReadFrom(buf)
		must(t, err)
		return strings.TrimRight(string(buf[:n]), ".")
	}
}

// The frames are the same, whoever sends them: those of a host of the cluster arrive,
// which shows that the others would.
func TestTunnel_letsInNobodyButTheHosts(t *testing.T) {
	t.Parallel()
	for _, ipv6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("IPv6 underlay %t", ipv6), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2, ipv6)
			l.up(t)
			c := l.hosts[0].start(t, 1, "10.1.0.2/24")
			next := c.listen(t)
			stranger := netnstest.New(t)
			l.plug(t, stranger, "stranger", l.underlay(99))
			stranger.Exec(t, "ip", "link", "set", "eth0", "mtu", "1280")
			if out, err := stranger.TryExec(t, "ping", "-c", "1", "-w", "5", l.hosts[0].vtep().String()); err != nil {
				t.Fatalf("the stranger does not reach the host at all: %v\n%s", err, out)
			}
			long := strings.Repeat(".", 1300) // goes in fragments, of which the second has no ports
			vni, vtep := l.net.Overlay.VNI, l.hosts[0].tunnels()
			for i := range 3 {
				send(t, stranger, vtep, smuggled(vni, c, "stranger"))
				send(t, stranger, vtep, smuggled(vni, c, "stranger in pieces"+long))
				text := fmt.Sprintf("host %d", i)
				send(t, l.hosts[1].ns, vtep, smuggled(vni, c, text))
				if got := next(); got != text {
					t.Fatalf("the container got %q, want %q", got, text)
				}
			}
			l.lan.Settle(t)
			if list := l.hosts[0].ns.Exec(t, "nft", "list", "chain", "inet", "ournet", "from-tunnels"); !strings.Contains(list, "counter packets 6 ") {
				t.Errorf("want six packets dropped:\n%s", list)
			}
			// One who becomes a host is let in at once.
			l.hosts = append(l.hosts, &host{lab: l, num: 3})
			l.hosts[0].ns.Run(t, func() error { return l.hosts[0].RefreshHosts(t.Context()) })
			third := netnstest.New(t)
			l.plug(t, third, "third", l.underlay(3))
			send(t, third, vtep, smuggled(vni, c, "third"))
			if got := next(); got != "third" {
				t.Errorf("the container got %q, want what the third host sent", got)
			}
		})
	}
}

// The UDP port may have other users: what has a VNI that is not ours is not dropped.
func TestTunnel_otherTunnelsOnThePortAreLetAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, false)
	l.up(t)
	host := l.hosts[0].ns
	stranger := netnstest.New(t)
	l.plug(t, stranger, "stranger", l.underlay(99))
	for _, side := range []struct {
		ns           *netnstest.Namespace
		remote, addr string
	}{{host, "192.0.2.99", "198.51.100.1/24"}, {stranger, "192.0.2.1", "198.51.100.2/24"}} {
		side.ns.Exec(t, "ip", "link", "add", "theirs", "type", "vxlan", "id", "7", "dstport", "4789", "dev", "eth0", "remote", side.remote)
		side.ns.Exec(t, "ip", "address", "add", side.addr, "dev", "theirs")
		side.ns.Exec(t, "ip", "link", "set", "theirs", "up")
	}
	if out, err := host.TryExec(t, "ping", "-c", "1", "-w", "5", "198.51.100.2"); err != nil {
		t.Errorf("the other tunnel does not work: %v\n%s", err, out)
	}
	if repairs := l.hosts[0].reconcile(t); len(repairs) > 0 {
		t.Errorf("Reconcile repaired %q", repairs)
	}
}

// What a container sends to another host's tunnels would come there from this host's
// address.
func TestTunnel_containersCannotSendToThoseOfOtherHosts(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, false)
	l.up(t)
	victim := l.hosts[1].start(t, 1, "10.1.0.2/24")
	next := victim.listen(t)
	host, inside := l.hosts[0].ns, netnstest.New(t)
	netnstest.Pair(t, host, netnstest.Port{Name: "nat0", Addrs: []string{"172.18.0.1/24"}},
		inside, netnstest.Port{Name: "eth0", Addrs: []string{"172.18.0.2/24"}})
	inside.Route(t, "default", "172.18.0.1")
	host.Exec(t, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	for _, cmd := range []string{
		"add table ip nat0", "add chain ip nat0 post { type nat hook postrouting priority 100 ; }",
		"add rule ip nat0 post oifname eth0 masquerade",
	} {
		host.Exec(t, "nft", strings.Fields(cmd)...)
	}
	if _, err := inside.TryExec(t, "ping", "-c", "1", "-w", "5", "192.0.2.2"); err != nil {
		t.Fatal("the container does not get out at all")
	}
	packet := smuggled(l.net.Overlay.VNI, victim, "container")
	send(t, inside, l.hosts[1].tunnels(), packet)
	send(t, host, l.hosts[1].tunnels(), smuggled(l.net.Overlay.VNI, victim, "host"))
	if got := next(); got != "host" {
		t.Errorf("the container got %q, want what the host sent", got)
	}
}

// The host takes no part in the network: a container that knows the MAC address of the
// bridge reaches none of the host's addresses, nor anything behind it.
func TestBridge_hostIsNotThere(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, false)
	l.up(t)
	h := l.hosts[0]
	c := h.start(t, 1, "10.1.0.2/24", "fd00:1::2/64")
	h.ns.Exec(t, "ip", "route", "add", "10.1.0.0/24", "dev", "on-000000000001")
	h.ns.Exec(t, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	c.Exec(t, "ip", "route", "add", "192.0.2.0/24", "dev", "eth0")
	if c.reaches(t, h.vtep(), 56) {
		t.Error("the host answers ARP and packets")
	}
	var mac string
	h.ns.Run(t, func() error {
		br, err := h.dev.Link("on-000000000001")
		mac = br.MAC.String()
		return err
	})
	for _, addr := range []string{h.vtep().String(), l.hosts[1].vtep().String()} {
		c.Exec(t, "ip", "neigh", "replace", addr, "lladdr", mac, "dev", "eth0")
		if out, err := c.TryExec(t, "ping", "-c", "1", "-w", "1", addr); err == nil {
			t.Errorf("%s is reached by the bridge:\n%s", addr, out)
		}
	}
	if addrs := h.ns.Exec(t, "ip", "-o", "address", "show", "dev", "on-000000000001"); addrs != "" {
		t.Errorf("the bridge has addresses:\n%s", addrs)
	}
	if addrs := h.ns.Exec(t, "ip", "-o", "address", "show", "dev", "onx123401"); addrs != "" {
		t.Errorf("the tunnel has addresses:\n%s", addrs)
	}
}
