package plugin

import (
	"math"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ournet/ournet/internal/admin"
	"github.com/ournet/ournet/internal/store"
)

// listed asks for the networks as the operator's command does, over a socket.
func listed(t *testing.T, c *admin.Client) admin.Networks {
	t.Helper()
	n, err := c.Networks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// testListing is what is there with one network and one endpoint, which has ports.
func testListing(ports ...admin.Port) admin.Networks {
	if ports == nil {
		ports = []admin.Port{}
	}
	return admin.Networks{Networks: []admin.Network{testNetworkListing(admin.Endpoint{ID: testEndpoint, Ports: ports})}}
}

// testNetworkListing is the one network, with what was leased for it.
func testNetworkListing(endpoints ...admin.Endpoint) admin.Network {
	used := uint64(len(endpoints))
	return admin.Network{
		ID: testNetwork, Type: "bridge", Endpoints: append([]admin.Endpoint{}, endpoints...),
		Pools: []admin.Pool{
			{Subnet: netip.MustParsePrefix("10.9.0.0/24"), Used: used, Free: 254 - used},
			{Subnet: netip.MustParsePrefix("fd09::/64"), Used: used, Free: math.MaxUint64 - used},
		},
	}
}

// comparableListing leaves out of a comparison when a network was made.
func comparableListing() cmp.Options {
	return cmp.Options{cmpopts.EquateComparable(netip.AddrPort{}, netip.Prefix{}), cmpopts.IgnoreFields(admin.Network{}, "Created")}
}

func TestAdmin_networksShowWhatIsPublishedNow(t *testing.T) {
	t.Parallel()
	s := newRealStack(t)
	c := admin.New(s.socket(t))
	assert := func(when string, want admin.Networks) {
		t.Helper()
		if diff := cmp.Diff(want, listed(t, c), comparableListing()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	assert("with nothing", admin.Networks{Networks: []admin.Network{}})

	const ports = `"com.docker.network.portmap":[
		{"Proto":6,"Port":80,"HostPort":8080,"HostPortEnd":8080},
		{"Proto":17,"Port":53,"HostIP":"127.0.0.1","HostPort":5353,"HostPortEnd":5353},
		{"Proto":6,"Port":80,"HostIP":"::","HostPort":8080,"HostPortEnd":8080},
		{"Proto":6,"Port":6379}]`
	s.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-host","Pool":"10.9.0.0/24"}`)
	s.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-host","Pool":"fd09::/64","V6":true}`)
	s.must(t, "/NetworkDriver.CreateNetwork", networkBody(testNetwork))
	s.must(t, "/IpamDriver.RequestAddress", `{"PoolID":"ournet-host/10.9.0.0/24","Address":"10.9.0.2"}`)
	s.must(t, "/IpamDriver.RequestAddress", `{"PoolID":"ournet-host/fd09::/64","Address":"fd09::2"}`)
	s.must(t, "/NetworkDriver.CreateEndpoint", endpointBody(testEndpoint, `"Address":"10.9.0.2/24","AddressIPv6":"fd09::2/64"`, ports))
	assert("with ports that are asked for only", testListing())

	s.must(t, "/NetworkDriver.Join", `{"NetworkID":"`+testNetwork+`","EndpointID":"`+testEndpoint+`","SandboxKey":"/run/docker/netns/x"}`)
	s.must(t, "/NetworkDriver.ProgramExternalConnectivity", endpointBody(testEndpoint, "", ports))
	v4, v6 := netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("fd09::2")
	published := testListing(
		admin.Port{Protocol: "tcp", Container: netip.AddrPortFrom(v4, 80), Host: netip.MustParseAddrPort("0.0.0.0:8080")},
		admin.Port{Protocol: "udp", Container: netip.AddrPortFrom(v4, 53), Host: netip.MustParseAddrPort("127.0.0.1:5353")},
		admin.Port{Protocol: "tcp", Container: netip.AddrPortFrom(v6, 80), Host: netip.MustParseAddrPort("[::]:8080")},
		// Nobody asked for a host port: the driver chose it.
		admin.Port{Protocol: "tcp", Container: netip.AddrPortFrom(v4, 6379), Host: netip.MustParseAddrPort("0.0.0.0:39147")},
	)
	assert("with published ports", published)

	s.restart(t)
	c = admin.New(s.socket(t))
	assert("after a restart of the plugin", published)

	s.must(t, "/NetworkDriver.RevokeExternalConnectivity", ids(testEndpoint))
	assert("with the ports taken back", testListing())
	s.must(t, "/NetworkDriver.DeleteEndpoint", ids(testEndpoint))
	s.must(t, "/IpamDriver.ReleaseAddress", `{"PoolID":"ournet-host/10.9.0.0/24","Address":"10.9.0.2"}`)
	s.must(t, "/IpamDriver.ReleaseAddress", `{"PoolID":"ournet-host/fd09::/64","Address":"fd09::2"}`)
	assert("without the endpoint", admin.Networks{Networks: []admin.Network{testNetworkListing()}})
	s.must(t, "/NetworkDriver.DeleteNetwork", `{"NetworkID":"`+testNetwork+`"}`)
	assert("without the network", admin.Networks{Networks: []admin.Network{}})
}

// After a downgrade: what a later version has recorded stays in the kernel.
func TestAdmin_networksCountWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := newRealStack(t)
	s.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-host","Pool":"10.9.0.0/24"}`)
	s.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-host","Pool":"fd09::/64","V6":true}`)
	s.must(t, "/NetworkDriver.CreateNetwork", networkBody(testNetwork))
	if _, err := s.kv.Apply(t.Context(), store.Set(store.LocalEndpointKey(testNetwork, testEndpoint), []byte(`{"Version":99}`))); err != nil {
		t.Fatal(err)
	}
	s.restart(t)
	network := testNetworkListing()
	network.Unreadable = 1
	want := admin.Networks{Networks: []admin.Network{network}}
	if diff := cmp.Diff(want, listed(t, admin.New(s.socket(t))), comparableListing()); diff != "" {
		t.Errorf("Networks (-want +got):\n%s", diff)
	}
}

func TestAdmin_pathsAreOnlyRead(t *testing.T) {
	t.Parallel()
	s := populated(t)
	before := s.state(t)
	for _, path := range []string{admin.NetworksPath, admin.StatsPath, admin.ClusterPath, admin.HostsPath} {
		if a := s.ask(t, path, "{}"); a.Status != http.StatusMethodNotAllowed || errText(t, a) == "" {
			t.Errorf("POST of %s = %v, want it refused", path, a)
		}
	}
	if diff := cmp.Diff(before, s.state(t)); diff != "" {
		t.Errorf("asking changed the state (-before +after):\n%s", diff)
	}
}

func TestAdmin_hostInNoClusterSaysHowToGetIntoOne(t *testing.T) {
	t.Parallel()
	c := admin.New(newStack(t).socket(t))
	got, err := c.Cluster(t.Context())
	if err != nil || got.Store != "" || len(got.Hosts) > 0 || len(got.Networks) > 0 {
		t.Errorf("Cluster = %+v, %v, want none", got, err)
	}
	if err := c.RemoveHost(t.Context(), "h1"); err == nil || !strings.Contains(err.Error(), "docker plugin set ournet/ournet CLUSTER_STORE=") {
		t.Errorf("RemoveHost = %v, want what to set", err)
	}
}
