package bridge_test

import (
	"errors"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/netnstest"
)

// patience is how often a packet is sent before it is taken for lost, and sendEvery
// the time between. The kernel takes up to a second or two to see that a new
// interface is up.
const (
	patience  = 25
	sendEvery = 200 * time.Millisecond
)

// newHostIn is newHost without the test's goroutine in the namespace.
func newHostIn(t *testing.T, ns *netnstest.Namespace) *host {
	t.Helper()
	var h *host
	ns.Run(t, func() error {
		h = newDriver(t, ns, "ournet")
		return nil
	})
	return h
}

// start joins an endpoint, with its published ports, in a new container.
func (h *host) start(t *testing.T, n driver.Network, ep *driver.Endpoint) *netnstest.Namespace {
	t.Helper()
	c := netnstest.New(t)
	h.ns.Run(t, func() error {
		att, err := h.Join(t.Context(), n, *ep)
		if err != nil {
			return err
		}
		c.Take(t, h.ns, att.SrcName, netnstest.Port{Name: "eth0", Addrs: []string{ep.Address.String()}})
		c.Route(t, "default", n.Subnets[0].Gateway.Addr().String())
		ep.Published, err = h.Publish(t.Context(), n, *ep, driver.Former{})
		return err
	})
	return c
}

// Without br_netfilter, packets from one port of a bridge to another do not pass the
// packet filter.
func TestJoin_neighboursAreApartWithoutBridgeFilter(t *testing.T) {
	t.Parallel()
	for name, filtered := range map[string]bool{"with bridge filter": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := netnstest.New(t)
			if !filtered {
				ns.Exec(t, "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0")
			}
			h := newHostIn(t, ns)
			n := testNetwork(1)
			n.Options.ICC = false
			ns.Run(t, func() error { return h.EnsureNetwork(t.Context(), n) })
			first, second := testEndpoint(n, 1), testEndpoint(n, 2)
			a := h.start(t, n, &first)
			h.start(t, n, &second)
			count := strconv.Itoa(patience)
			if out, err := a.TryExec(t, "ping", "-c", "1", "-W", "5", "-i", "0.2", "-w", "5", "10.1.0.1"); err != nil {
				t.Errorf("no answer from the gateway: %v\n%s", err, out)
			}
			if out, err := a.TryExec(t, "ping", "-c", count, "-i", "0.05", "-W", "1", second.Address.Addr().String()); err == nil {
				t.Errorf("the neighbour answered:\n%s", out)
			}
		})
	}
}

func TestPublish_clientThatGoesOnSendingFindsTheNextContainer(t *testing.T) {
	t.Parallel()
	ns, outside := netnstest.New(t), netnstest.New(t)
	netnstest.Pair(t, ns, netnstest.Port{Name: "eth0", Addrs: []string{"192.0.2.1/24"}},
		outside, netnstest.Port{Name: "eth0", Addrs: []string{"192.0.2.9/24"}})
	h := newHostIn(t, ns)
	n := testNetwork(1)
	ns.Run(t, func() error { return h.EnsureNetwork(t.Context(), n) })
	var client net.Conn
	outside.Run(t, func() (err error) {
		client, err = new(net.Dialer).DialContext(t.Context(), "udp", "192.0.2.1:5300")
		return err
	})
	defer func() { must(t, client.Close()) }()
	for range 10 { // until the connection is known to go nowhere
		if answer, err := ask(client); err == nil {
			t.Fatalf("%q answers before there is a container", answer)
		}
	}
	for i := 1; i <= 2; i++ {
		ep := testEndpoint(n, i)
		ep.Bindings = []driver.Binding{{Protocol: driver.UDP, Port: 53, HostPort: 5300, HostPortEnd: 5300}}
		c := h.start(t, n, &ep)
		stop := serve(t, c, strconv.Itoa(i))
		var (
			got string
			err error
		)
		for tries := patience; tries > 0 && got != strconv.Itoa(i); tries-- {
			got, err = ask(client) // which may be a late answer of the one before
		}
		if got != strconv.Itoa(i) {
			t.Errorf("container %d is up, but the client hears %q, %v", i, got, err)
		}
		ns.Run(t, func() error { return errors.Join(h.Unpublish(t.Context(), n, ep), h.Leave(t.Context(), n, ep)) })
		stop()
	}
}

// ask sends a datagram and returns the answer, or an error after sendEvery.
func ask(client net.Conn) (string, error) {
	// Refused by an ICMP message to the datagram before is as good as unanswered.
	_, werr := client.Write([]byte("?"))
	if err := client.SetReadDeadline(time.Now().Add(sendEvery)); err != nil {
		return "", err
	}
	buf := make([]byte, 16)
	n, err := client.Read(buf)
	if err != nil {
		return "", errors.Join(werr, err)
	}
	return string(buf[:n]), nil
}

// serve answers every datagram to port 53 of the container.
func serve(t *testing.T, c *netnstest.Namespace, answer string) (stop func()) {
	t.Helper()
	var conn net.PacketConn
	c.Run(t, func() (err error) {
		conn, err = new(net.ListenConfig).ListenPacket(t.Context(), "udp", ":53")
		return err
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 16)
		for {
			_, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo([]byte(answer), from) // the client asks again
		}
	}()
	return func() {
		must(t, conn.Close())
		<-done
	}
}
