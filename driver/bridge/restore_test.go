package bridge_test

import (
	"slices"
	"testing"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/netnstest"
)

// A container whose interface somebody deleted on the host gets it back, with name,
// address and route, and talks on.
func TestReconcile_interfaceThatWasDeletedIsMadeAgainInItsContainer(t *testing.T) {
	t.Parallel()
	ns := netnstest.New(t)
	h := newHostIn(t, ns)
	n := testNetwork(1)
	n.Subnets = append(n.Subnets, testSubnet6())
	ns.Run(t, func() error { return h.EnsureNetwork(t.Context(), n) })
	ep, neighbour := testEndpoint(n, 1), testEndpoint(n, 2)
	ep.AddressIPv6 = address6(2)
	c := h.start(t, n, &ep)
	h.start(t, n, &neighbour)
	ep.SandboxKey, neighbour.SandboxKey = c.Path(), ""
	want := []driver.Attached{{Network: n, Endpoints: []driver.Endpoint{ep, neighbour}}}
	ns.Exec(t, "ip", "link", "delete", "onv00000000e01")
	ns.Exec(t, "ip", "link", "delete", "onv00000000e02") // of a sandbox that is gone
	for i := range 2 {
		var repairs []string
		ns.Run(t, func() (err error) {
			repairs, err = h.Reconcile(t.Context(), want, nil)
			return err
		})
		if i == 0 && !slices.Equal(repairs, []string{
			"interface onv00000000e01 of endpoint 00000000e010 was missing",
			"nft set guarded of table bridge ournet: 0 elements were missing, 1 left over",
			"nft set macs of table bridge ournet: 0 elements were missing, 1 left over",
			"nft set own4 of table bridge ournet: 0 elements were missing, 1 left over",
		}) || i == 1 && len(repairs) > 0 {
			t.Errorf("Reconcile %d repaired %q", i, repairs)
		}
	}
	for _, target := range []string{"10.1.0.1", "fd00:1::1"} {
		if out, err := c.TryExec(t, "ping", "-c", "1", "-w", "5", target); err != nil {
			t.Errorf("no answer from %s: %v\n%s", target, err, out)
		}
	}
	if routes := c.Exec(t, "ip", "route", "show", "default"); routes != "default via 10.1.0.1 dev eth0 \n" {
		t.Errorf("default route is %q", routes)
	}
	ns.Run(t, func() error { return h.Leave(t.Context(), n, ep) })
}

// A name that was asked for with --driver-opt comes back as well.
func TestReconcile_interfaceComesBackUnderTheNameThatWasAskedFor(t *testing.T) {
	t.Parallel()
	ns := netnstest.New(t)
	h := newHostIn(t, ns)
	n := testNetwork(1)
	ns.Run(t, func() error { return h.EnsureNetwork(t.Context(), n) })
	ep := testEndpoint(n, 1)
	ep.InterfaceName = "wan0"
	c := h.start(t, n, &ep)
	ep.SandboxKey = c.Path()
	ns.Exec(t, "ip", "link", "delete", "onv00000000e01")
	ns.Run(t, func() error {
		_, err := h.Reconcile(t.Context(), []driver.Attached{{Network: n, Endpoints: []driver.Endpoint{ep}}}, nil)
		return err
	})
	if routes := c.Exec(t, "ip", "route", "show", "default"); routes != "default via 10.1.0.1 dev wan0 \n" {
		t.Errorf("default route is %q, want it by wan0", routes)
	}
}
