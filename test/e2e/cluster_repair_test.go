package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// What somebody deletes of a network over hosts is back at once; the test prints when.
func TestCluster_whatIsDeletedByHandIsRepaired(t *testing.T) {
	inMixedCluster(t, func(c *cluster) {
		h1, h2 := c.host(1), c.host(2)
		c.overlay("lab", "--subnet 10.40.0.0/24")
		h1.run("docker run -d --name one --network lab busybox sleep 1d")
		h2.run("docker run -d --name two --network lab busybox sleep 1d")
		h2.connected("two", "one")
		c.assertConsistent("before the harm")
		one := h1.container("one").NetworkSettings.Networks["lab"]
		tunnel, bridge := c.tunnel("lab"), bridgeName(h2.network("lab").ID)
		for _, harm := range []struct{ name, command string }{
			{"a forwarding entry", "bridge fdb delete " + one.MacAddress + " dev " + tunnel},
			{"a forwarding entry led astray", "bridge fdb replace " + one.MacAddress + " dev " + tunnel + " dst 10.99.0.99"},
			{"the entries of frames for all", "bridge fdb delete " + floodMAC + " dev " + tunnel + " dst " + h1.Address().String()},
			{"a neighbour", "ip neigh delete " + one.IPAddress + " dev " + bridge},
			{"a neighbour led astray", "ip neigh replace " + one.IPAddress + " lladdr 02:00:00:00:00:01 nud permanent dev " + bridge},
			{"the tunnel set down", "ip link set " + tunnel + " down"},
			{"the tunnel off its bridge", "ip link set " + tunnel + " nomaster"},
			{"the tunnel", "ip link delete " + tunnel},
			{"the bridge", "ip link delete " + bridge},
		} {
			c.part(harm.name, func(c *cluster) {
				c.host(2).run(harm.command)
				c.assertConsistent("after the harm")
				c.host(2).connected("two", one.IPAddress)
			})
		}
	})
}

// tunnel returns the name of a network's tunnel, the same on all hosts.
func (c *cluster) tunnel(name string) string {
	c.Helper()
	return tunnelName(c.vni(name))
}

func (c *cluster) vni(name string) uint32 {
	c.Helper()
	networks, err := c.sharedNetworks()
	if err != nil {
		c.Fatal(err)
	}
	for _, n := range networks {
		if n.name == name {
			return n.vni
		}
	}
	c.Fatalf("the store has no network %s", name)
	return 0
}

// A frame in a packet to the tunnels' port reaches a container if a host of the cluster
// sent it, and else never: neither from a stranger, by IPv4 or IPv6, nor to every one.
func TestCluster_packetsFromStrangersReachNobody(t *testing.T) {
	inMixedCluster(t, func(c *cluster) {
		h2 := c.host(2)
		c.overlay("lab", "--subnet 10.41.0.0/24")
		for _, h := range c.hosts {
			h.run("docker run -d --name victim --network lab busybox sleep 1d")
		}
		c.assertConsistent("before the packets")
		for _, h := range []*host{c.host(1), c.host(3)} {
			victim := h.container("victim").NetworkSettings.Networks["lab"]
			frame := datagramTo(c.T, victim.MacAddress, victim.IPAddress)
			all := datagramTo(c.T, "ff:ff:ff:ff:ff:ff", victim.IPAddress)
			strangers, err := h.lab.Outside.Namespace()
			if err != nil {
				c.Fatal(err)
			}
			friends, err := h2.Namespace()
			if err != nil {
				c.Fatal(err)
			}
			for _, tc := range []struct {
				name, namespace string
				to              netip.Addr
				frame           []byte
				want            bool
			}{
				{"a host of the cluster", friends, h.Address(), frame, true},
				{"a stranger", strangers, h.Address(), frame, false},
				{"a stranger to all", strangers, h.Address(), all, false},
				{"a stranger by IPv6", strangers, h.Address6(), frame, false},
				{"a host of the cluster again", friends, h.Address(), frame, true},
			} {
				before := h.datagramsSeen("victim")
				c.sendVXLAN(tc.namespace, tc.to, tc.frame)
				switch got := h.datagramsSeen("victim") - before; {
				case tc.want && got != crafted:
					c.Errorf("%s to %s: %d of %d frames reach the container", tc.name, h.Name, got, crafted)
				case !tc.want && got != 0:
					c.Errorf("%s to %s: %d of %d frames reach the container, want none", tc.name, h.Name, got, crafted)
				}
			}
		}
	})
}

// crafted is how many packets are sent.
const crafted = 20

// sendVXLAN sends the frame from a namespace into the network lab by a host's tunnel.
func (c *cluster) sendVXLAN(namespace string, to netip.Addr, frame []byte) {
	c.Helper()
	conn, err := dialWithin(c.host(1).ctx, namespace, "udp", netip.AddrPortFrom(to, 4789).String())
	if err != nil {
		c.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing is read
	// RFC 7348, section 5: the flag says that the identifier is valid.
	packet := binary.BigEndian.AppendUint32([]byte{8, 0, 0, 0}, c.vni("lab")<<8)
	packet = append(packet, frame...)
	for range crafted {
		// An answer "port unreachable" to an earlier one is an error of a later one.
		if _, err := conn.Write(packet); err != nil && !strings.Contains(err.Error(), "refused") {
			c.Fatal(err)
		}
	}
}

// datagramTo returns a frame with a UDP datagram to a port that nobody listens on.
func datagramTo(t *testing.T, mac, addr string) []byte {
	t.Helper()
	to, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	target := netip.MustParseAddr(addr).As4()
	source := target
	source[3] = 200 // nobody has it
	frame := slices.Concat(to, []byte{0x02, 0x42, 0xde, 0xad, 0xbe, 0xef, 0x08, 0x00})
	header := []byte{0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0}
	header = append(append(header, source[:]...), target[:]...)
	binary.BigEndian.PutUint16(header[10:], checksum(header))
	frame = append(frame, header...)
	// From port 9 to port 9, no payload, no checksum.
	return append(frame, 0, 9, 0, 9, 0, 8, 0, 0)
}

// checksum is the internet's (RFC 1071).
func checksum(header []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// datagramsSeen returns how many datagrams for ports without a listener the container
// has had. What was sent on this machine has been received by then: a packet passes
// from namespace to namespace before the send returns, or within the same moment.
func (h *host) datagramsSeen(container string) int {
	h.Helper()
	count := func() int {
		text, err := lab.InNamespace(h.ctx, h.namespaceOf(container), "cat", "/proc/net/snmp")
		if err != nil {
			h.Fatal(err)
		}
		n, err := noPorts(text)
		if err != nil {
			h.Fatal(err)
		}
		return n
	}
	// Two looks that see the same: nothing is on its way any more.
	last := count()
	err := lab.Poll(h.ctx, "the packets to arrive", func() error {
		now := count()
		if now != last {
			last = now
			return fmt.Errorf("%d have", now)
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	return last
}

// noPorts reads the counter of /proc/net/snmp.
func noPorts(text string) (int, error) {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Udp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names {
			if name == "NoPorts" {
				return strconv.Atoi(fields[i])
			}
		}
	}
	return 0, fmt.Errorf("/proc/net/snmp has no NoPorts: %q", text)
}
