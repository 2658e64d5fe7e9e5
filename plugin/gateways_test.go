package plugin

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ournet/ournet/driver"
)

func TestDoorsOf_areTheAddressesThatTheHostHas(t *testing.T) {
	t.Parallel()
	subnets := []driver.Subnet{
		{Pool: netip.MustParsePrefix("10.1.0.0/24"), Gateway: netip.MustParsePrefix("10.1.0.1/24")},
		{Pool: netip.MustParsePrefix("10.2.0.0/24")},
		{Pool: netip.MustParsePrefix("fd00::/64"), Gateway: netip.MustParsePrefix("fd00::1/64")},
	}
	for _, tc := range []struct {
		name    string
		options driver.Options
		want    []string
	}{
		{"plain", driver.Options{}, []string{"10.1.0.1", "fd00::1"}},
		{"engine's gateway", driver.Options{DockerGateway: true}, []string{"10.1.0.1", "fd00::1"}},
		{"inhibited", driver.Options{InhibitIPv4: true}, []string{"fd00::1"}},
		{"isolated", driver.Options{GatewayModeIPv4: driver.GatewayIsolated, GatewayModeIPv6: driver.GatewayIsolated}, nil},
		{"overlay", driver.Options{Type: driver.TypeOverlay}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.options.BridgeName = "br7"
			var got []string
			for _, d := range doorsOf(driver.Network{Options: tc.options, Subnets: subnets}) {
				if d.Device != "br7" {
					t.Errorf("the device is %s", d.Device)
				}
				got = append(got, d.Addr.String())
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
