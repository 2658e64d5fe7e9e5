package bridge_test

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/netnstest"
)

// A client whose container ends hears of it at its next word, and is not left to
// send to an address where nobody is.
func TestLeave_clientOfADeadContainerIsReset(t *testing.T) {
	t.Parallel()
	ns, outside := netnstest.New(t), netnstest.New(t)
	netnstest.Pair(t, ns, netnstest.Port{Name: "eth0", Addrs: []string{"192.0.2.1/24"}},
		outside, netnstest.Port{Name: "eth0", Addrs: []string{"192.0.2.9/24"}})
	h := newHostIn(t, ns)
	n := testNetwork(1)
	ns.Run(t, func() error { return h.EnsureNetwork(t.Context(), n) })
	ep := testEndpoint(n, 1)
	ep.Bindings = []driver.Binding{binding(80, 8080, 8080)}
	c := h.start(t, n, &ep)
	var server net.Listener
	c.Run(t, func() (err error) {
		server, err = new(net.ListenConfig).Listen(t.Context(), "tcp4", ":80")
		return err
	})
	defer func() { must(t, server.Close()) }()
	var client net.Conn
	outside.Run(t, func() (err error) {
		for range patience { // until the interface is up
			ctx, cancel := context.WithTimeout(t.Context(), sendEvery)
			client, err = new(net.Dialer).DialContext(ctx, "tcp4", "192.0.2.1:8080")
			cancel()
			if err == nil {
				return nil
			}
		}
		return err
	})
	defer client.Close() //nolint:errcheck // it has been reset
	ns.Run(t, func() error { return errors.Join(h.Unpublish(t.Context(), n, ep), h.Leave(t.Context(), n, ep)) })
	_, err := client.Write([]byte("?"))
	must(t, err)
	must(t, client.SetReadDeadline(time.Now().Add(10*time.Second)))
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client hears %v, want %v", err, syscall.ECONNRESET)
	}
}
