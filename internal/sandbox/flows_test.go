package sandbox

import (
	"net"
	"net/netip"
	"testing"
)

// from opens a socket to the resolver, at that local port, or any if it is 0: the
// plugin's own if it has the mark.
func (c *container) from(port uint16, b *Sandbox) net.Conn {
	c.t.Helper()
	d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv4Unspecified(), port))}
	if b != nil {
		d.Control = b.marked
	}
	var conn net.Conn
	c.ns.Run(c.t, func() (err error) {
		conn, err = d.DialContext(c.t.Context(), "udp4", netAddr(dnsPort).String())
		return err
	})
	return conn
}

// answered asks through a socket, closes it and returns its port.
func (c *container) answered(conn net.Conn, by string) uint16 {
	c.t.Helper()
	if got := exchange(c.t, conn); got != by {
		c.t.Errorf("from %s it is answered by %s, want %s", conn.LocalAddr(), got, by)
	}
	if err := conn.Close(); err != nil {
		c.t.Error(err)
	}
	port := localPort(conn.LocalAddr())
	c.ns.AwaitClosed(c.t, port)
	return port
}

// The kernel remembers a port for minutes after its socket was closed. A client that has
// one that we asked the engine from is still answered by us, and the other way about.
func TestDial_portsMayHaveBeenTheOthers(t *testing.T) {
	t.Parallel()
	eachEngine(t, Options{Timeout: longAgo}, func(_ *testing.T, _ *host, c *container, s *Sandboxes) {
		b := c.ensure(s)
		ours := c.answered(c.from(0, b), "engine")
		c.answered(c.from(ours, nil), "ournet")
		clients := c.answered(c.from(0, nil), "ournet")
		c.answered(c.from(clients, b), "engine")
	})
}

// Many a resolver library uses one socket as long as it can. It is answered by us
// whenever we are there, and by the engine when we are not.
func TestYield_aSocketThatGoesOnAskingGoesWithTheRest(t *testing.T) {
	t.Parallel()
	eachEngine(t, Options{Timeout: longAgo}, func(t *testing.T, h *host, c *container, s *Sandboxes) {
		b := c.ensure(s)
		client := c.from(0, nil)
		defer func() { _ = client.Close() }()
		for range 3 {
			if got := exchange(t, client); got != "ournet" {
				t.Errorf("while we are there the client is answered by %s", got)
			}
			s.Yield()
			if got := exchange(t, client); got != "engine" {
				t.Errorf("while we are away the client is answered by %s", got)
			}
			if _, err := s.Ensure(t.Context(), c.key); err != nil {
				t.Fatal(err)
			}
		}
		c.killed(s, b)
		c.ensure(h.sandboxes(Options{Timeout: longAgo}))
		if got := exchange(t, client); got != "ournet" {
			t.Errorf("after a restart the client is answered by %s", got)
		}
	})
}
