package bridge_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/ournet/ournet/driver"
)

func TestGatewayDocker_leavesTheWayOutToTheEngine(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	n.Options.DockerGateway = true
	must(t, h.EnsureNetwork(t.Context(), n))
	att, err := h.Join(t.Context(), n, testEndpoint(n, 1))
	must(t, err)
	if att.Gateway.IsValid() || att.GatewayIPv6.IsValid() {
		t.Errorf("Join = %+v, want no gateway", att)
	}
	rules := h.ns.Exec(t, "nft", "list", "table", "inet", "ournet")
	if strings.Contains(rules, "10.1.0.0") {
		t.Errorf("the subnet is masqueraded:\n%s", rules)
	}
	if got := strings.TrimSpace(h.ns.Exec(t, "sysctl", "-n", "net.ipv4.conf.on-000000000001.route_localnet")); got != "0" {
		t.Errorf("route_localnet = %s on a bridge that no port is published through", got)
	}
}

func TestCheck_gatewayDockerRefusesWhatContradictsIt(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	for _, tc := range []struct {
		name   string
		change func(n *driver.Network)
		says   string
	}{
		{"alone", func(*driver.Network) {}, ""},
		{"without ICC", func(n *driver.Network) { n.Options.ICC = false }, ""},
		{"internal", func(n *driver.Network) { n.Internal = true }, "--internal"},
		{"routed", func(n *driver.Network) { n.Options.Masquerade = false }, driver.OptMasquerade},
		{"host binding", func(n *driver.Network) { n.Options.HostBindingIPv4 = netip.MustParseAddr("127.0.0.1") }, driver.OptHostBindingIPv4},
	} {
		n := testNetwork(1)
		n.Options.DockerGateway = true
		tc.change(&n)
		switch err := h.Check(n, nil); {
		case tc.says == "" && err != nil:
			t.Errorf("%s: Check = %v", tc.name, err)
		case tc.says != "" && (!errors.Is(err, driver.ErrOption) || !strings.Contains(err.Error(), tc.says)):
			t.Errorf("%s: Check = %v, want ErrOption that names %s", tc.name, err, tc.says)
		}
	}
}
