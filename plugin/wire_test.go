package plugin

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ournet/ournet/driver"
)

// populated returns a stack with one dual-stack network and one endpoint in it,
// on pools of our own address manager.
func populated(t testing.TB) *stack {
	t.Helper()
	s := newStack(t)
	s.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-host","Pool":"10.9.0.0/24"}`)
	s.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-host","Pool":"fd09::/64","V6":true}`)
	s.must(t, "/IpamDriver.RequestAddress", `{"PoolID":"ournet-host/10.9.0.0/24","Address":"10.9.0.2"}`)
	s.must(t, "/IpamDriver.RequestAddress", `{"PoolID":"ournet-host/fd09::/64","Address":"fd09::2"}`)
	s.must(t, "/NetworkDriver.CreateNetwork", networkBody(testNetwork))
	s.must(t, "/NetworkDriver.CreateEndpoint", endpointBody(testEndpoint, `"Address":"10.9.0.2/24","AddressIPv6":"fd09::2/64"`, ""))
	return s
}

func networkBody(id string) string {
	return `{"NetworkID":"` + id + `","Options":{"com.docker.network.enable_ipv6":true,"com.docker.network.generic":{}},
		"IPv4Data":[{"AddressSpace":"ournet-host","Pool":"10.9.0.0/24","Gateway":"10.9.0.1/24"}],
		"IPv6Data":[{"AddressSpace":"ournet-host","Pool":"fd09::/64","Gateway":"fd09::1/64"}]}`
}

func endpointBody(id, iface, options string) string {
	return `{"NetworkID":"` + testNetwork + `","EndpointID":"` + id + `","Interface":{` + iface + `},"Options":{` + options + `}}`
}

func ids(endpoint string) string {
	return `{"NetworkID":"` + testNetwork + `","EndpointID":"` + endpoint + `"}`
}

func TestParseNetwork_keepsAllThatTheEngineSays(t *testing.T) {
	t.Parallel()
	var req createNetworkRequest
	body := `{"NetworkID":"` + testNetwork + `","Options":{
		"com.docker.network.enable_ipv4":true,"com.docker.network.enable_ipv6":true,"com.docker.network.internal":true,
		"com.docker.network.generic":{"com.docker.network.driver.mtu":"1400"},"com.docker.network.new":[1]},
		"IPv4Data":[{"AddressSpace":"LocalDefault","Pool":"10.1.0.0/16","Gateway":"10.1.0.1/16","AuxAddresses":{"r":"10.1.0.9/16"}},
			{"AddressSpace":"LocalDefault","Pool":"10.2.0.0/16"}],
		"IPv6Data":[{"AddressSpace":"x","Pool":"fd00::/64","Gateway":"fd00::1/64","AuxAddresses":null}]}`
	if err := decode([]byte(body), &req); err != nil {
		t.Fatal(err)
	}
	got, err := parseNetwork(&req)
	if err != nil {
		t.Fatalf("parseNetwork: %v", err)
	}
	options := driver.DefaultOptions()
	options.MTU = 1400
	want := driver.Network{
		ID: driver.NetworkID(testNetwork), Options: options, Internal: true,
		Subnets: []driver.Subnet{
			{
				Space: "LocalDefault", Pool: netip.MustParsePrefix("10.1.0.0/16"), Gateway: netip.MustParsePrefix("10.1.0.1/16"),
				Aux: map[string]netip.Addr{"r": netip.MustParseAddr("10.1.0.9")},
			},
			{Space: "LocalDefault", Pool: netip.MustParsePrefix("10.2.0.0/16")},
			{Space: "x", Pool: netip.MustParsePrefix("fd00::/64"), Gateway: netip.MustParsePrefix("fd00::1/64")},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("parseNetwork (-want +got):\n%s", diff)
	}
}

func TestCreateNetwork_unusableRequestIsRefusedWithAReason(t *testing.T) {
	t.Parallel()
	const pool = `"IPv4Data":[{"AddressSpace":"LocalDefault","Pool":"10.1.0.0/16"}]`
	for _, tc := range []struct{ name, fields, want string }{
		{"no subnet", `"IPv4Data":[]`, "has no subnet"},
		{"null address manager", `"IPv4Data":[{"AddressSpace":"null","Pool":"0.0.0.0/0"}]`, "--ipam-driver"},
		{"IPv6 without a subnet", pool + `,"Options":{"com.docker.network.enable_ipv6":true}`, "IPv6 is on"},
		{"pool that is none", `"IPv4Data":[{"Pool":"10.1"}]`, `pool "10.1"`},
		{"pool of the other family", `"IPv4Data":[{"Pool":"fd00::/64"}]`, "other family"},
		{"gateway outside", `"IPv4Data":[{"Pool":"10.1.0.0/16","Gateway":"10.2.0.1/16"}]`, "not in 10.1.0.0/16"},
		{"aux that is none", `"IPv4Data":[{"Pool":"10.1.0.0/16","AuxAddresses":{"r":"x"}}]`, "auxiliary address r"},
		{"unknown option", pool + `,"Options":{"com.docker.network.generic":{"mtu":"1"}}`, "did you mean"},
		{"option that is no string", pool + `,"Options":{"com.docker.network.generic":{"com.docker.network.driver.mtu":1400}}`, `"com.docker.network.driver.mtu" is not a string`},
		{"options that are no object", pool + `,"Options":{"com.docker.network.generic":"x"}`, "not an object"},
		{"family that the engine did not add", pool + `,"Options":{"com.docker.network.generic":{"com.docker.network.enable_ipv6":"true"}}`, "did not follow"},
		{"flag that is none", pool + `,"Options":{"com.docker.network.internal":"yes"}`, "neither true nor false"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			before := s.state(t)
			a := s.ask(t, "/NetworkDriver.CreateNetwork", `{"NetworkID":"`+testNetwork+`",`+tc.fields+`}`)
			if a.Status != http.StatusInternalServerError || !strings.Contains(errText(t, a), tc.want) {
				t.Errorf("CreateNetwork = %v, want an error with %q", a, tc.want)
			}
			if after := s.state(t); after != before {
				t.Errorf("state changed to\n%s", after)
			}
		})
	}
}

func TestCreate_malformedIDIsRefused(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for _, id := range []string{"", "abc", strings.Repeat("A", 64), "../" + strings.Repeat("a", 61), strings.Repeat("g", 64)} {
		for _, tc := range []struct{ path, body string }{
			{"/NetworkDriver.CreateNetwork", networkBody(id)},
			{"/NetworkDriver.CreateEndpoint", endpointBody(id, `"Address":"10.9.0.2/24"`, "")},
			{"/NetworkDriver.Join", ids(id)},
			{"/NetworkDriver.ProgramExternalConnectivity", ids(id)},
		} {
			if a := s.ask(t, tc.path, tc.body); a.Status == http.StatusOK || !strings.Contains(errText(t, a), "64 hexadecimal digits") {
				t.Errorf("%s of id %q = %v, want an error", tc.path, id, a)
			}
		}
	}
}

// The engine has forgotten what it asks to remove, whatever the answer.
func TestCleanup_unknownAndMalformedIDsSucceed(t *testing.T) {
	t.Parallel()
	s := populated(t)
	before := s.state(t)
	for _, id := range []string{otherID, "", "junk", "../../etc"} {
		for _, tc := range []struct{ path, body string }{
			{"/NetworkDriver.DeleteNetwork", `{"NetworkID":"` + id + `"}`},
			{"/NetworkDriver.DeleteEndpoint", ids(id)},
			{"/NetworkDriver.Leave", ids(id)},
			{"/NetworkDriver.RevokeExternalConnectivity", ids(id)},
			{"/IpamDriver.ReleasePool", `{"PoolID":"` + id + `"}`},
			{"/IpamDriver.ReleaseAddress", `{"PoolID":"` + id + `","Address":"10.9.0.2"}`},
			{"/IpamDriver.ReleaseAddress", `{"PoolID":"ournet-host/10.9.0.0/24","Address":"` + id + `"}`},
		} {
			s.must(t, tc.path, tc.body)
		}
	}
	if diff := cmp.Diff(before, s.state(t)); diff != "" {
		t.Errorf("state changed (-before +after):\n%s", diff)
	}
}

// A driver that repeats what it was given has its endpoint rolled back.
func TestCreateEndpoint_replyFillsOnlyWhatWasEmpty(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, iface, want string }{
		{"MAC from IPv4", `"Address":"10.9.0.3/24","AddressIPv6":"fd09::3/64"`, `{"Interface":{"Address":"","AddressIPv6":"","MacAddress":"02:42:0a:09:00:03"}}`},
		{"MAC from IPv6", `"Address":"","AddressIPv6":"fd09::3/64"`, `{"Interface":{"Address":"","AddressIPv6":"","MacAddress":"02:42:00:00:00:03"}}`},
		{"MAC given", `"Address":"10.9.0.3/24","MacAddress":"02:00:00:00:00:07"`, `{"Interface":null}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := populated(t)
			s.must(t, "/IpamDriver.RequestAddress", `{"PoolID":"ournet-host/10.9.0.0/24","Address":"10.9.0.3"}`)
			s.must(t, "/IpamDriver.RequestAddress", `{"PoolID":"ournet-host/fd09::/64","Address":"fd09::3"}`)
			for range 2 {
				if got := s.must(t, "/NetworkDriver.CreateEndpoint", endpointBody(otherID, tc.iface, "")); got != tc.want {
					t.Errorf("CreateEndpoint = %s, want %s", got, tc.want)
				}
			}
		})
	}
}

func TestCreateEndpoint_unusableRequestIsRefusedWithAReason(t *testing.T) {
	t.Parallel()
	const good = `"Address":"10.9.0.3/24"`
	for _, tc := range []struct{ name, iface, options, want string }{
		{"no address", `"MacAddress":"02:00:00:00:00:07"`, "", "no address"},
		{"address without length", `"Address":"10.9.0.3"`, "", "10.9.0.3"},
		{"families mixed up", `"Address":"fd09::3/64"`, "", "other family"},
		{"foreign address", `"Address":"10.8.0.3/24"`, "", "in no subnet"},
		{"bad MAC", good + `,"MacAddress":"x"`, "", "MAC address"},
		{"group MAC", good + `,"MacAddress":"01:00:5e:00:00:01"`, "", "not the address of one interface"},
		{"zero MAC", good + `,"MacAddress":"00:00:00:00:00:00"`, "", "not the address of one interface"},
		{"ports that are no list", good, `"com.docker.network.portmap":{}`, "portmap"},
		{"port out of range", good, `"com.docker.network.portmap":[{"Proto":6,"Port":70000}]`, "field Port"},
		{"unknown protocol", good, `"com.docker.network.portmap":[{"Proto":1,"Port":80}]`, "protocol 1"},
		{"port missing", good, `"com.docker.network.portmap":[{"Proto":6}]`, "port is missing"},
		{"range turned round", good, `"com.docker.network.portmap":[{"Proto":6,"Port":80,"HostPort":9,"HostPortEnd":8}]`, "no range"},
		{"range without start", good, `"com.docker.network.portmap":[{"Proto":6,"Port":80,"HostPortEnd":8}]`, "no start"},
		{"bad host address", good, `"com.docker.network.portmap":[{"Proto":6,"Port":80,"HostIP":"here"}]`, "host address"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := populated(t)
			before := s.state(t)
			a := s.ask(t, "/NetworkDriver.CreateEndpoint", endpointBody(otherID, tc.iface, tc.options))
			if a.Status != http.StatusInternalServerError || !strings.Contains(errText(t, a), tc.want) {
				t.Errorf("CreateEndpoint = %v, want an error with %q", a, tc.want)
			}
			if diff := cmp.Diff(before, s.state(t)); diff != "" {
				t.Errorf("state changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestParsePortMap_readsEveryFormOfBinding(t *testing.T) {
	t.Parallel()
	var req createEndpointRequest
	body := endpointBody(otherID, "", `"com.docker.network.portmap":[
		{"Proto":6,"IP":"","Port":80,"HostIP":"","HostPort":8080,"HostPortEnd":8080},
		{"Proto":17,"IP":"","Port":53,"HostIP":"127.0.0.1","HostPort":0,"HostPortEnd":0},
		{"Proto":132,"Port":9,"HostIP":"::","HostPort":9000,"HostPortEnd":9010},
		{"Proto":6,"Port":81,"HostPort":8081}]`)
	if err := decode([]byte(body), &req); err != nil {
		t.Fatal(err)
	}
	got, err := parsePortMap(req.Options)
	if err != nil {
		t.Fatalf("parsePortMap: %v", err)
	}
	want := []driver.Binding{
		{Protocol: driver.TCP, Port: 80, HostPort: 8080, HostPortEnd: 8080},
		{Protocol: driver.UDP, Port: 53, HostAddr: netip.MustParseAddr("127.0.0.1")},
		{Protocol: driver.SCTP, Port: 9, HostAddr: netip.IPv6Unspecified(), HostPort: 9000, HostPortEnd: 9010},
		{Protocol: driver.TCP, Port: 81, HostPort: 8081, HostPortEnd: 8081},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("parsePortMap (-want +got):\n%s", diff)
	}
	for _, none := range []string{"", `"com.docker.network.portmap":null`, `"com.docker.network.portmap":[]`} {
		var empty createEndpointRequest
		if err := decode([]byte(endpointBody(otherID, "", none)), &empty); err != nil {
			t.Fatal(err)
		}
		if got, err := parsePortMap(empty.Options); err != nil || got != nil {
			t.Errorf("parsePortMap of {%s} = %v, %v, want nothing", none, got, err)
		}
	}
}

func TestJoin_interfaceIsCalledAsTheEndpointsOptionSays(t *testing.T) {
	t.Parallel()
	s := populated(t)
	other := strings.Repeat("7", 64)
	const name = `"com.docker.network.endpoint.ifname":`
	s.must(t, "/IpamDriver.RequestAddress", `{"PoolID":"ournet-host/10.9.0.0/24","Address":"10.9.0.7"}`)
	for _, wrong := range []string{`"a/b"`, `""`, `7`, `"sixteen-bytes-xx"`} {
		a := s.ask(t, "/NetworkDriver.CreateEndpoint", endpointBody(other, `"Address":"10.9.0.7/24"`, name+wrong))
		if a.Status == http.StatusOK {
			t.Errorf("CreateEndpoint with the name %s = %v, want an error", wrong, a)
		}
	}
	s.must(t, "/NetworkDriver.CreateEndpoint", endpointBody(other, `"Address":"10.9.0.7/24"`, name+`"lan0"`))
	body := fmt.Sprintf(`{"NetworkID":%q,"EndpointID":%q,"SandboxKey":"/var/run/docker/netns/7"}`, testNetwork, other)
	want := `"InterfaceName":{"SrcName":"onv77777777777","DstPrefix":"eth","DstName":"lan0"}`
	if got := s.must(t, "/NetworkDriver.Join", body); !strings.Contains(got, want) {
		t.Errorf("Join = %s, want %s", got, want)
	}
}

func TestJoin_replyHasOnlyTheGatewaysThatThereAre(t *testing.T) {
	t.Parallel()
	s := populated(t)
	join := `{"NetworkID":"` + testNetwork + `","EndpointID":"` + testEndpoint + `","SandboxKey":"/var/run/docker/netns/1","Options":{"x":1}}`
	want := `{"InterfaceName":{"SrcName":"onveeeeeeeeeee","DstPrefix":"eth"},"Gateway":"10.9.0.1","GatewayIPv6":"fd09::1","StaticRoutes":null,"DisableGatewayService":false}`
	if got := s.must(t, "/NetworkDriver.Join", join); got != want {
		t.Errorf("Join = %s, want %s", got, want)
	}
	for _, key := range []string{"", "netns/1", "/var/../etc/1"} {
		body := fmt.Sprintf(`{"NetworkID":%q,"EndpointID":%q,"SandboxKey":%q}`, testNetwork, testEndpoint, key)
		if a := s.ask(t, "/NetworkDriver.Join", body); a.Status == http.StatusOK {
			t.Errorf("Join of sandbox %q = %v, want an error", key, a)
		}
	}
}

func TestPublish_replacesWhatWasPublished(t *testing.T) {
	t.Parallel()
	s := populated(t)
	body := func(port string) string {
		return `{"NetworkID":"` + testNetwork + `","EndpointID":"` + testEndpoint + `","Options":{"com.docker.network.portmap":[
			{"Proto":6,"Port":80,"HostPort":` + port + `}]}}`
	}
	s.must(t, "/NetworkDriver.ProgramExternalConnectivity", body("8080"))
	s.must(t, "/NetworkDriver.ProgramExternalConnectivity", body("8081"))
	if got := s.kernel.ports[driver.EndpointID(testEndpoint)]; got != "[0.0.0.0:8081->80/tcp]" {
		t.Errorf("published ports = %s, want the latter", got)
	}
	s.must(t, "/NetworkDriver.RevokeExternalConnectivity", ids(testEndpoint))
	if got := s.kernel.ports; len(got) != 0 {
		t.Errorf("published ports after Revoke = %v, want none", got)
	}
}

func TestPublish_unknownEndpointIsAnError(t *testing.T) {
	t.Parallel()
	s := populated(t)
	if a := s.ask(t, "/NetworkDriver.ProgramExternalConnectivity", ids(otherID)); a.Status == http.StatusOK {
		t.Errorf("ProgramExternalConnectivity = %v, want an error", a)
	}
}

func TestAllocateNetwork_isRefusedWithAReason(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for _, path := range []string{"/NetworkDriver.AllocateNetwork", "/NetworkDriver.FreeNetwork"} {
		if a := s.ask(t, path, "{}"); a.Status == http.StatusOK || !strings.Contains(errText(t, a), "Swarm") {
			t.Errorf("%s = %v, want an error about Swarm", path, a)
		}
	}
}

func TestRequestPool_unusableRequestIsRefusedWithAReason(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for _, tc := range []struct{ name, fields, want string }{
		{"not a subnet", `"Pool":"lab"`, `subnet "lab"`},
		{"host bits", `"Pool":"10.1.2.3/16"`, "write 10.1.0.0/16"},
		{"IPv4 for IPv6", `"Pool":"10.1.0.0/16","V6":true`, "family"},
		{"IPv6 for IPv4", `"Pool":"fd00::/64"`, "family"},
		{"IPv4 in IPv6", `"Pool":"::ffff:10.0.0.0/112","V6":true`, "write it as IPv4"},
		{"range alone", `"SubPool":"10.1.0.0/24"`, "--subnet"},
		{"bad range", `"Pool":"10.1.0.0/16","SubPool":"10.1.0.7/24"`, "write 10.1.0.0/24"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := s.ask(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-host",`+tc.fields+`}`)
			if a.Status != http.StatusInternalServerError || !strings.Contains(errText(t, a), tc.want) {
				t.Errorf("RequestPool = %v, want an error with %q", a, tc.want)
			}
		})
	}
}

func TestRequestAddress_gatewayAndNameReachTheAddressManager(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-host","Pool":"10.9.0.0/24"}`)
	for _, tc := range []struct {
		options string
		want    fakeLease
	}{
		{`{"RequestAddressType":"com.docker.network.gateway"}`, fakeLease{gateway: true}},
		{`{"com.docker.network.endpoint.name":"web"}`, fakeLease{name: "web"}},
	} {
		s.must(t, "/IpamDriver.RequestAddress", `{"PoolID":"ournet-host/10.9.0.0/24","Address":"10.9.0.9","Options":`+tc.options+`}`)
		got := s.pools.pools["ournet-host/10.9.0.0/24"].leases[netip.MustParseAddr("10.9.0.9")]
		if diff := cmp.Diff(&tc.want, got, cmp.AllowUnexported(fakeLease{})); diff != "" {
			t.Errorf("options %s (-want +got):\n%s", tc.options, diff)
		}
	}
	if a := s.ask(t, "/IpamDriver.RequestAddress", `{"PoolID":"ournet-host/10.9.0.0/24","Address":"10.9.0.9/24"}`); a.Status == http.StatusOK {
		t.Errorf("address with a prefix length = %v, want an error", a)
	}
}
