package firewall_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ournet/ournet/internal/firewall"
)

// frame is what a container sends to all others.
type frame struct {
	name string
	// passes says that a container may send it.
	passes bool
	bytes  []byte
}

// crafter makes frames of a container that knows its neighbour.
type crafter struct{ own, other net.HardwareAddr }

// ether is a frame to everybody, with a name behind all else by which its receiver
// knows it.
func (c crafter) ether(name string, passes bool, src net.HardwareAddr, ethertype uint16, payload ...byte) frame {
	payload = append(payload, "<"+name+">"...)
	payload = append(payload, make([]byte, max(0, 46-len(payload)))...)
	switch ethertype {
	case unix.ETH_P_IP:
		binary.BigEndian.PutUint16(payload[2:], uint16(len(payload)))
		binary.BigEndian.PutUint16(payload[10:], checksum(payload[:20]))
	case unix.ETH_P_IPV6:
		binary.BigEndian.PutUint16(payload[4:], uint16(len(payload)-40))
	}
	b := append(slices.Repeat([]byte{0xff}, 6), src...)
	return frame{name, passes, append(binary.BigEndian.AppendUint16(b, ethertype), payload...)}
}

// packet4 is a UDP packet from an address to everybody.
func packet4(src string) []byte {
	b := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0}
	b = append(b, netip.MustParseAddr(src).AsSlice()...)
	return append(b, 255, 255, 255, 255, 0, 68, 0, 67, 0, 8, 0, 0)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// packet6 is a packet from an address to all nodes.
func packet6(src string, next byte, payload ...byte) []byte {
	b := []byte{0x60, 0, 0, 0, 0, 0, next, 255}
	b = append(b, netip.MustParseAddr(src).AsSlice()...)
	return append(append(b, netip.MustParseAddr("ff02::1").AsSlice()...), payload...)
}

// neighbour is an ICMPv6 message of neighbour discovery about a target.
func neighbour(kind byte, target string) []byte {
	return append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, netip.MustParseAddr(target).AsSlice()...)
}

func arp(mac net.HardwareAddr, src string) []byte {
	b := append([]byte{0, 1, 8, 0, 6, 4, 0, 2}, mac...)
	b = append(b, netip.MustParseAddr(src).AsSlice()...)
	return append(b, 0, 0, 0, 0, 0, 0, 10, 97, 0, 1)
}

// frames are those that a container with these addresses may send, and may not.
func (c crafter) frames(own4, other4, own6, other6 string) []frame {
	const ip4, ip6, icmp, udp = unix.ETH_P_IP, unix.ETH_P_IPV6, unix.IPPROTO_ICMPV6, unix.IPPROTO_UDP
	datagram := []byte{0, 1, 0, 1, 0, 8, 0, 0}
	behindOptions := append([]byte{icmp, 0, 1, 4, 0, 0, 0, 0}, neighbour(136, other6)...)
	tagged := func(vlan byte, ethertype uint16, payload []byte) []byte {
		return append(binary.BigEndian.AppendUint16([]byte{0, vlan}, ethertype), payload...)
	}
	return []frame{
		c.ether("own IPv4", true, c.own, ip4, packet4(own4)...),
		c.ether("DHCP", true, c.own, ip4, packet4("0.0.0.0")...),
		c.ether("link-local IPv4", true, c.own, ip4, packet4("169.254.1.2")...),
		c.ether("own IPv6", true, c.own, ip6, packet6(own6, udp, datagram...)...),
		c.ether("link-local IPv6", true, c.own, ip6, packet6("fe80::2", udp, datagram...)...),
		c.ether("address detection", true, c.own, ip6, packet6("::", icmp, neighbour(135, own6)...)...),
		c.ether("own advertisement", true, c.own, ip6, packet6(own6, icmp, neighbour(136, own6)...)...),
		c.ether("link-local advertisement", true, c.own, ip6, packet6("fe80::2", icmp, neighbour(136, "fe80::2")...)...),
		c.ether("own ARP", true, c.own, unix.ETH_P_ARP, arp(c.own, own4)...),
		c.ether("ARP probe", true, c.own, unix.ETH_P_ARP, arp(c.own, "0.0.0.0")...),
		c.ether("another protocol", true, c.own, 0x88b5),

		c.ether("another's MAC", false, c.other, ip4, packet4(own4)...),
		c.ether("another's MAC and IPv4", false, c.other, ip4, packet4(other4)...),
		c.ether("another's MAC, another protocol", false, c.other, 0x88b5),
		c.ether("another's IPv4", false, c.own, ip4, packet4(other4)...),
		c.ether("the gateway's IPv4", false, c.own, ip4, packet4("10.97.0.1")...),
		c.ether("a foreign IPv4", false, c.own, ip4, packet4("192.0.2.2")...),
		c.ether("another's IPv6", false, c.own, ip6, packet6(other6, udp, datagram...)...),
		c.ether("a foreign IPv6", false, c.own, ip6, packet6("2001:db8::2", udp, datagram...)...),
		c.ether("ARP for another", false, c.own, unix.ETH_P_ARP, arp(c.own, other4)...),
		c.ether("ARP for the gateway", false, c.own, unix.ETH_P_ARP, arp(c.own, "10.97.0.1")...),
		c.ether("ARP with another's MAC", false, c.own, unix.ETH_P_ARP, arp(c.other, own4)...),
		c.ether("advertisement for another", false, c.own, ip6, packet6(own6, icmp, neighbour(136, other6)...)...),
		c.ether("advertisement for another, link-local", false, c.own, ip6, packet6("fe80::2", icmp, neighbour(136, other6)...)...),
		c.ether("advertisement behind options", false, c.own, ip6, packet6(own6, 0, behindOptions...)...),
		c.ether("router advertisement", false, c.own, ip6, packet6("fe80::2", icmp, neighbour(134, "::")...)...),
		c.ether("redirect", false, c.own, ip6, packet6("fe80::2", icmp, neighbour(137, other6)...)...),
		c.ether("VLAN 0", false, c.own, unix.ETH_P_8021Q, tagged(0, ip4, packet4(other4))...),
		c.ether("VLAN 5", false, c.own, unix.ETH_P_8021Q, tagged(5, ip4, packet4(other4))...),
		c.ether("VLAN in VLAN", false, c.own, unix.ETH_P_8021AD, tagged(0, unix.ETH_P_8021Q, tagged(0, ip4, packet4(other4)))...),
	}
}

func TestSources_framesWithAnothersAddressAreDroppedAndCounted(t *testing.T) {
	t.Parallel()
	for _, bridged := range []string{"0", "1"} {
		t.Run("br_netfilter "+bridged, func(t *testing.T) {
			t.Parallel()
			l := newWorld(t, world{"nft", bridged})
			c := crafter{own: l.mac(t, "a2"), other: l.mac(t, "a1")}
			all := c.frames(addr4("a2"), addr4("a1"), addr6("a2"), addr6("a1"))
			source := firewall.Source{
				Device: "va2", MAC: [6]byte(c.own),
				Addrs: []netip.Addr{netip.MustParseAddr(addr4("a2")), netip.MustParseAddr(addr6("a2"))},
			}
			l.host.Run(t, func() error { return l.table.AddSource(t.Context(), source) })
			var pass, forbidden []string
			for _, f := range all {
				if f.passes {
					pass = append(pass, f.name)
				} else {
					forbidden = append(forbidden, f.name)
				}
			}
			slices.Sort(pass)
			if diff := cmp.Diff(pass, l.received(t, "a2", "a1", all, len(pass))); diff != "" {
				t.Errorf("frames that arrive (-want +got):\n%s", diff)
			}
			l.settle(t)
			if got := l.spoofed(t); got != len(forbidden) {
				t.Errorf("%d frames were dropped and counted, want %d", got, len(forbidden))
			}
			// The neighbours talk as before.
			l.checkAll(t, []check{
				{"a2", at(addr4("a1"), 80), addr4("a2")},
				{"a1", at(addr6("a2"), 80), addr6("a1")},
				{"a2", at(outsideAddr, 80), hostAddr},
				{"outside", at(hostAddr, 8080), outsideAddr},
			})
			l.host.Run(t, func() error { return l.table.RemoveSource(t.Context(), "va2") })
			if bridged == "1" {
				return // it makes sense of packets, and does not pass on what makes none
			}
			if got := l.received(t, "a2", "a1", all, len(all)); len(got) != len(all) {
				t.Errorf("with no check %d of %d frames arrive: %q", len(got), len(all), got)
			}
		})
	}
}

func (l *lab) mac(t *testing.T, name string) net.HardwareAddr {
	t.Helper()
	fields := strings.Fields(l.namespace(name).Exec(t, "ip", "-o", "link", "show", "eth0"))
	mac, err := net.ParseMAC(fields[slices.Index(fields, "link/ether")+1])
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

// spoofed returns how many frames our table dropped.
func (l *lab) spoofed(t *testing.T) int {
	t.Helper()
	total := 0
	list := l.host.Exec(t, "nft", "list", "table", "bridge", "ournet")
	for _, m := range regexp.MustCompile(`counter packets (\d+) bytes \d+ drop`).FindAllStringSubmatch(list, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	return total
}

// received sends the frames from one container and returns the names of those that
// come to another, sorted. It waits until count of them have come.
func (l *lab) received(t *testing.T, from, to string, all []frame, count int) []string {
	t.Helper()
	in, out := l.packetSocket(t, to), l.packetSocket(t, from)
	for _, f := range all {
		if _, err := out.Write(f.bytes); err != nil {
			t.Fatalf("send %s: %v", f.name, err)
		}
	}
	var got []string
	if err := in.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2048)
	for len(got) < count {
		n, err := in.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(all, func(f frame) bool { return bytes.Contains(buf[:n], []byte("<"+f.name+">")) }); i >= 0 {
			got = append(got, all[i].name)
		}
	}
	slices.Sort(got)
	return got
}

// packetSocket opens a socket for whole frames on a container's interface.
func (l *lab) packetSocket(t *testing.T, name string) *os.File {
	t.Helper()
	var file *os.File
	l.namespace(name).Run(t, func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all))
		if err != nil {
			return fmt.Errorf("open a packet socket: %w", err)
		}
		file = os.NewFile(uintptr(fd), "packet socket")
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Index})
	})
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	return file
}
