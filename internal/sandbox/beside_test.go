package sandbox

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// server answers everything at an address of the container's with a word.
func (c *container) server(word, addr string) (udp *net.UDPConn, tcp net.Listener) {
	c.t.Helper()
	c.ns.Run(c.t, func() (err error) {
		if udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr))); err != nil {
			return err
		}
		tcp, err = net.Listen("tcp4", addr)
		return err
	})
	speak(c.t, word, udp, tcp)
	return udp, tcp
}

// older makes the table as a version without zones had it, which leads to these ports.
func (c *container) older(table string, udp, tcp uint16) {
	c.t.Helper()
	c.ns.Exec(c.t, "nft", fmt.Sprintf(`add table ip %s; delete table ip %[1]s; table ip %[1]s {
		set ports { type inet_service; flags timeout; timeout 1h; elements = { 53 }; }
		chain output { type nat hook output priority -110; policy accept;
			ip daddr 127.0.0.11 udp dport @ports meta mark != 0x6f756e74 dnat to 127.0.0.11:%d
			ip daddr 127.0.0.11 tcp dport @ports meta mark != 0x6f756e74 dnat to 127.0.0.11:%d
		}
	}`, table, udp, tcp))
}

// A container may lead its queries to a proxy of its own, as those do that are a way out
// for others.
func TestEnsure_aProxyOfTheContainersComesFirst(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c, s := h.start("a"), h.sandboxes(Options{Timeout: longAgo})
	c.engine(engines()["iptables-nft"])
	c.server("proxy", "127.0.0.1:5353")
	c.ns.Exec(t, "nft", `table ip own { chain out { type nat hook output priority -150;
		udp dport 53 redirect to :5353; tcp dport 53 redirect to :5353; }; }`)
	c.ensure(s)
	for _, network := range []string{"udp", "tcp"} {
		if got := c.asks(network); got != "proxy" {
			t.Errorf("over %s a client is answered by %s", network, got)
		}
	}
}

func TestEnsure_zonesOfTheContainersAreNoMatter(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"its rule", "ours"} {
		t.Run(first+" first", func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			c, s := h.start("a"), h.sandboxes(Options{Timeout: longAgo})
			c.engine(engines()["iptables-nft"])
			own := func() { c.ns.Exec(t, "iptables-nft", "-t", "raw", "-A", "OUTPUT", "-j", "CT", "--zone", "5") }
			if first == "its rule" {
				own()
			}
			b := c.ensure(s)
			if first == "ours" {
				own()
			}
			c.answered(c.from(0, nil), "ournet")
			c.answered(c.from(0, b), "engine")
		})
	}
}

// Whichever of two plugins was there last is asked, as of two of this version.
func TestEnsure_besideAPluginWithoutZones(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c, s := h.start("a"), h.sandboxes(Options{Timeout: longAgo})
	c.engine(engines()["iptables-nft"])
	b := c.ensure(s)
	udp, tcp := c.server("older", netAddr(0).String())
	c.older("ournet2", localPort(udp.LocalAddr()), localPort(tcp.Addr()))
	c.answered(c.from(0, nil), "older")
	if err := b.table.set(); err != nil {
		t.Fatal(err)
	}
	c.answered(c.from(0, nil), "ournet")
}

// What a version without zones has left of flows is in nobody's way.
func TestEnsure_afterAVersionWithoutZones(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c := h.start("a")
	c.engine(engines()["iptables-nft"])
	udp, tcp := c.server("older", netAddr(0).String())
	c.older("ournet", localPort(udp.LocalAddr()), localPort(tcp.Addr()))
	former := c.answered(c.from(0, nil), "older")
	client := c.from(0, nil)
	defer client.Close() //nolint:errcheck // nothing is sent any more
	if got := exchange(t, client); got != "older" {
		t.Fatalf("a client is answered by %s", got)
	}
	_, _ = udp.Close(), tcp.Close()
	c.ns.AwaitClosed(c.t, localPort(udp.LocalAddr()), localPort(tcp.Addr()))
	b := c.ensure(h.sandboxes(Options{Timeout: longAgo}))
	if got := exchange(t, client); got != "ournet" {
		t.Errorf("the client's old socket is answered by %s", got)
	}
	c.answered(c.from(former, nil), "ournet")
	// We are told at once, and ask from another port.
	if got := c.answered(c.from(former, b), "refused"); got != former {
		t.Errorf("it was asked from port %d, want %d", got, former)
	}
}

// The engine opens a socket of its own for each start of a container.
func TestYield_theEngineMayGetOurPort(t *testing.T) {
	t.Parallel()
	for name, rules := range engines() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			c, s := h.start("a"), h.sandboxes(Options{Timeout: longAgo})
			b := c.ensure(s)
			port := localPort(b.UDP.LocalAddr())
			s.Yield()
			c.killed(s, b)
			c.server("engine", netAddr(port).String())
			rules(c, int(port), int(port))
			c.answered(c.from(0, nil), "engine")
			c.ensure(h.sandboxes(Options{Timeout: longAgo}))
			c.answered(c.from(0, nil), "ournet")
		})
	}
}

// A container that leaves its last network may have a query under way.
func TestRemove_aQueryUnderWayIsAnswered(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c, s := h.start("a"), h.sandboxes(Options{Timeout: longAgo})
	c.engine(engines()["iptables-nft"])
	b, err := s.Ensure(t.Context(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	client := c.from(0, nil)
	defer client.Close() //nolint:errcheck // nothing is sent any more
	answers := make(chan string)
	go func() { answers <- exchange(t, client) }()
	_, from, err := b.UDP.ReadFromUDPAddrPort(make([]byte, 100))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.table.remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.UDP.WriteToUDPAddrPort([]byte("ournet"), from); err != nil {
		t.Fatal(err)
	}
	if got := <-answers; got != "ournet" {
		t.Errorf("the client is answered by %s", got)
	}
}

// A kernel may be built without conntrack zones; what it says then is all that can be
// had of it here.
func TestEnsure_withoutZones(t *testing.T) {
	t.Parallel()
	eachEngine(t, Options{Timeout: longAgo}, func(t *testing.T, _ *host, c *container, s *Sandboxes) {
		s.send = func(k channel, transaction []byte) error {
			if bytes.Contains(transaction, number(unix.NFTA_CT_KEY, unix.NFT_CT_ZONE)) {
				return unix.EOPNOTSUPP
			}
			return k.send(transaction)
		}
		b := c.ensure(s)
		port := localPort(b.UDP.LocalAddr())
		for _, network := range []string{"udp", "tcp"} {
			if got := c.asks(network); got != "ournet" {
				t.Errorf("over %s a client is answered by %s", network, got)
			}
		}
		c.answered(c.from(0, b), "engine")
		s.Yield()
		c.answered(c.from(0, nil), "engine")
		s.beat(t.Context(), s.keys())
		c.answered(c.from(0, nil), "ournet")
		c.killed(s, b)
		if again := c.ensure(s); localPort(again.UDP.LocalAddr()) != port {
			t.Error("the port is another one")
		}
		if !s.zoneless.Load() {
			t.Error("it does not know that there are no zones")
		}
	})
}
