package consultest_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/ournet/ournet/internal/consultest"
	"github.com/ournet/ournet/internal/netnstest"
)

// Consul on one host serves another over a cable, as in a lab.
func TestStartAt_inNamespaces(t *testing.T) {
	t.Parallel()
	server, client := netnstest.New(t), netnstest.New(t)
	netnstest.Pair(t, server, netnstest.Port{Name: "eth0", Addrs: []string{"10.9.0.1/24"}},
		client, netnstest.Port{Name: "eth0", Addrs: []string{"10.9.0.2/24"}})
	c := consultest.StartAt(t, consultest.Options{
		Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.1")},
		Enter:     []string{"nsenter", "--net=" + server.Path(), "--"},
		ACL:       true,
		Dial: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			derr := client.Do(func() error {
				conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
				return err
			})
			return conn, derr
		},
	})
	if got := c.Leader(t); got != c.Servers[0] {
		t.Errorf("leader is %v", got)
	}
	c.Servers[0].Kill(t)
	c.Servers[0].Start(t)
}
