package driver_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/ournet/ournet/driver"
)

func TestOnLink_isWhatNoGatewayLeadsTo(t *testing.T) {
	t.Parallel()
	pools := []string{"10.1.0.0/24", "10.2.0.0/24", "fd01::/64", "fd02::/64"}
	var n driver.Network
	for _, p := range pools {
		n.Subnets = append(n.Subnets, driver.Subnet{Pool: netip.MustParsePrefix(p)})
	}
	v4 := driver.Endpoint{Address: netip.MustParsePrefix("10.1.0.2/24")}
	both := driver.Endpoint{Address: netip.MustParsePrefix("10.2.0.2/24"), AddressIPv6: netip.MustParsePrefix("fd01::2/64")}
	for _, tc := range []struct {
		name string
		n    func(*driver.Network)
		ep   driver.Endpoint
		want []string
	}{
		{"the network's own gateway", func(*driver.Network) {}, both, nil},
		{"internal", func(n *driver.Network) { n.Internal = true }, v4, []string{"10.2.0.0/24"}},
		{"the engine's gateway", func(n *driver.Network) { n.Options.DockerGateway = true }, both, []string{"10.1.0.0/24", "fd02::/64"}},
		{"overlay", func(n *driver.Network) { n.Options.Type = driver.TypeOverlay }, v4, []string{"10.2.0.0/24"}},
		{"a pool of everything", func(n *driver.Network) {
			n.Internal, n.Subnets = true, append(slices.Clone(n.Subnets), driver.Subnet{Pool: netip.MustParsePrefix("0.0.0.0/0")})
		}, v4, []string{"10.2.0.0/24"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			network := n
			tc.n(&network)
			var got []string
			for _, p := range network.OnLink(tc.ep) {
				got = append(got, p.String())
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("OnLink = %v, want %v", got, tc.want)
			}
		})
	}
}
