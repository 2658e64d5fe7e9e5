package driver_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ournet/ournet/driver"
)

func TestMACFromAddr_isTheOneDockerGives(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"172.25.0.2":    "02:42:ac:19:00:02",
		"172.25.3.3":    "02:42:ac:19:03:03",
		"fd00::1:2:3:4": "02:42:00:03:00:04",
	} {
		if got := driver.MACFromAddr(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("MACFromAddr(%s) = %s, want %s", addr, got, want)
		}
	}
}

func TestParseMAC_refusesOtherLengths(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "02:42", "02:42:ac:19:00:02:00:01", "zz:42:ac:19:00:02"} {
		if mac, err := driver.ParseMAC(s); err == nil {
			t.Errorf("ParseMAC(%q) = %s, want an error", s, mac)
		}
	}
}

func TestValidID_letsOnlyTheEnginesFormPass(t *testing.T) {
	t.Parallel()
	good := strings.Repeat("0123456789abcdef", 4)
	for s, want := range map[string]bool{
		good:                    true,
		good[1:]:                false,
		good + "0":              false,
		strings.ToUpper(good):   false,
		"../../" + good[6:]:     false,
		"":                      false,
		strings.Repeat("g", 64): false,
	} {
		if got := driver.ValidID(s); got != want {
			t.Errorf("ValidID(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestNetworkGateway_isOfTheSubnetThatHoldsTheAddress(t *testing.T) {
	t.Parallel()
	n := driver.Network{Subnets: []driver.Subnet{
		{Pool: netip.MustParsePrefix("10.1.0.0/24"), Gateway: netip.MustParsePrefix("10.1.0.1/24")},
		{Pool: netip.MustParsePrefix("10.2.0.0/24")},
		{Pool: netip.MustParsePrefix("fd00::/64"), Gateway: netip.MustParsePrefix("fd00::1/64")},
	}}
	for addr, want := range map[string]netip.Addr{
		"10.1.0.9":   netip.MustParseAddr("10.1.0.1"),
		"10.2.0.9":   {},
		"10.3.0.9":   {},
		"fd00::beef": netip.MustParseAddr("fd00::1"),
	} {
		if got := n.Gateway(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Gateway(%s) = %v, want %v", addr, got, want)
		}
	}
}
