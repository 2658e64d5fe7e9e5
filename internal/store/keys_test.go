package store_test

import (
	"testing"

	"github.com/ournet/ournet/internal/store"
)

func TestKeys_areTheSchema(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ got, want string }{
		{store.LocalNetworkKey("n1"), "v1/local/networks/n1"},
		{store.LocalNetworksPrefix(), "v1/local/networks/"},
		{store.LocalEndpointKey("n1", "e1"), "v1/local/endpoints/n1/e1"},
		{store.LocalEndpointsPrefix(), "v1/local/endpoints/"},
		{store.LocalPortsKey("n1", "fd00::1"), "v1/local/ports/n1/fd00::1"},
		{store.LocalEngineBridgesKey(), "v1/local/enginebridges"},
		{store.LocalNamesKey("n1", "e1"), "v1/local/names/n1/e1"},
		{store.LocalNamesPrefix(), "v1/local/names/"},
		{store.LocalPortsPrefix(), "v1/local/ports/"},
		{store.LocalJournalPrefix(), "v1/local/journal/"},
		{store.LocalJournalKey("v1/hosts/h1"), "v1/local/journal/v1/hosts/h1"},
		{store.LocalULAKey(), "v1/local/ula"},
		{store.PoolsPrefix("ournet-host"), "v1/pools/ournet-host/"},
		{store.PoolKey("ournet-host", "10.0.0.0/24"), "v1/pools/ournet-host/10.0.0.0_24/pool"},
		{store.LeasesPrefix("ournet-host", "fd00::/64"), "v1/pools/ournet-host/fd00::_64/leases/"},
		{store.LeaseKey("ournet-host", "fd00::/64", "fd00::1"), "v1/pools/ournet-host/fd00::_64/leases/fd00::1"},
	} {
		if tc.got != tc.want {
			t.Errorf("key = %q, want %q", tc.got, tc.want)
		}
	}
}

func TestSplitPoolKey(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		key, subnet, addr string
		ok                bool
	}{
		{store.PoolKey("s", "10.0.0.0/24"), "10.0.0.0/24", "", true},
		{store.LeaseKey("s", "fd00::/64", "fd00::1"), "fd00::/64", "fd00::1", true},
		{store.PoolKey("other", "10.0.0.0/24"), "", "", false},
		{"v1/pools/s/10.0.0.0_24/else", "", "", false},
		{"v1/pools/s/10.0.0.0_24/leases/", "", "", false},
		{"v1/pools/s/10.0.0.0_24/leases/a/b", "", "", false},
		{"v1/pools/s/10.0.0.0_24", "", "", false},
		{"v1/pools/s//pool", "", "", false},
		{"", "", "", false},
	} {
		subnet, addr, ok := store.SplitPoolKey("s", tc.key)
		if subnet != tc.subnet || addr != tc.addr || ok != tc.ok {
			t.Errorf("SplitPoolKey(%q) = %q, %q, %v, want %q, %q, %v", tc.key, subnet, addr, ok, tc.subnet, tc.addr, tc.ok)
		}
	}
}
