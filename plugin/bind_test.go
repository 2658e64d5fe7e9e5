package plugin

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/driver"
)

// bound returns what the address manager believes is in use by us.
func (s *stack) bound() (networks map[string][]string, endpoints map[string]string) {
	s.pools.mu.Lock()
	defer s.pools.mu.Unlock()
	networks, endpoints = make(map[string][]string), make(map[string]string)
	for id, p := range s.pools.pools {
		if len(p.networks) > 0 {
			networks[string(id)] = p.networks
		}
		for a, l := range p.leases {
			if l.endpoint != "" {
				endpoints[a.String()] = l.endpoint
			}
		}
	}
	return networks, endpoints
}

func (s *stack) checkBound(t *testing.T, networks map[string][]string, endpoints map[string]string) {
	t.Helper()
	gotN, gotE := s.bound()
	if diff := cmp.Diff(networks, gotN); diff != "" {
		t.Errorf("bound pools (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(endpoints, gotE); diff != "" {
		t.Errorf("bound addresses (-want +got):\n%s", diff)
	}
}

func bothPools() map[string][]string {
	return map[string][]string{"ournet-host/10.9.0.0/24": {testNetwork}, "ournet-host/fd09::/64": {testNetwork}}
}

func bothAddresses() map[string]string {
	return map[string]string{"10.9.0.2": testEndpoint, "fd09::2": testEndpoint}
}

func TestBind_followsNetworkAndEndpoint(t *testing.T) {
	t.Parallel()
	s := populated(t)
	s.checkBound(t, bothPools(), bothAddresses())
	s.must(t, "/NetworkDriver.DeleteEndpoint", ids(testEndpoint))
	s.checkBound(t, bothPools(), map[string]string{})
	s.must(t, "/NetworkDriver.DeleteNetwork", `{"NetworkID":"`+testNetwork+`"}`)
	s.checkBound(t, map[string][]string{}, map[string]string{})
}

// The keeper drops what the engine forgot, beside any verb.
func TestDrop_unbindsLikeTheVerbs(t *testing.T) {
	t.Parallel()
	s := populated(t)
	s.must(t, "/NetworkDriver.DeleteEndpoint", ids(testEndpoint))
	if err := s.verbs.dropNetwork(t.Context(), driver.NetworkID(testNetwork)); err != nil {
		t.Errorf("dropNetwork: %v", err)
	}
	s.checkBound(t, map[string][]string{}, map[string]string{})
}

func TestBind_poolsOfTheEngineAreNotOurs(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.must(t, "/NetworkDriver.CreateNetwork", strings.ReplaceAll(networkBody(testNetwork), "ournet-host", "LocalDefault"))
	s.must(t, "/NetworkDriver.CreateEndpoint", endpointBody(testEndpoint, `"Address":"10.9.0.2/24"`, ""))
	s.must(t, "/NetworkDriver.DeleteEndpoint", ids(testEndpoint))
	s.must(t, "/NetworkDriver.DeleteNetwork", `{"NetworkID":"`+testNetwork+`"}`)
	s.checkBound(t, map[string][]string{}, map[string]string{})
}

func TestCreateNetwork_failureUnbindsWhatItBound(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-host","Pool":"10.9.0.0/24"}`)
	s.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-host","Pool":"fd09::/64","V6":true}`)
	s.kernel.fail = errors.New("no devices today")
	a := s.ask(t, "/NetworkDriver.CreateNetwork", networkBody(testNetwork))
	if a.Status != http.StatusInternalServerError || !strings.Contains(errText(t, a), "no devices today") {
		t.Fatalf("CreateNetwork = %v, want the driver's error", a)
	}
	s.checkBound(t, map[string][]string{}, map[string]string{})
}

func TestCreateNetwork_unknownPoolUnbindsTheOthers(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-host","Pool":"10.9.0.0/24"}`)
	if a := s.ask(t, "/NetworkDriver.CreateNetwork", networkBody(testNetwork)); a.Status == http.StatusOK {
		t.Fatalf("CreateNetwork on a pool that nobody asked for = %v, want an error", a)
	}
	s.checkBound(t, map[string][]string{}, map[string]string{})
}

// A request that comes again with other contents must not tear down what is there.
func TestCreateNetwork_conflictingRepeatKeepsTheFirstBound(t *testing.T) {
	t.Parallel()
	s := populated(t)
	s.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-host","Pool":"10.10.0.0/24"}`)
	body := strings.ReplaceAll(networkBody(testNetwork), "10.9.0.", "10.10.0.")
	if a := s.ask(t, "/NetworkDriver.CreateNetwork", body); a.Status == http.StatusOK {
		t.Fatalf("CreateNetwork of a taken id = %v, want an error", a)
	}
	s.checkBound(t, bothPools(), bothAddresses())
}

func TestCreateEndpoint_conflictingRepeatKeepsTheFirstBound(t *testing.T) {
	t.Parallel()
	s := populated(t)
	s.must(t, "/IpamDriver.RequestAddress", `{"PoolID":"ournet-host/10.9.0.0/24","Address":"10.9.0.3"}`)
	a := s.ask(t, "/NetworkDriver.CreateEndpoint", endpointBody(testEndpoint, `"Address":"10.9.0.3/24","AddressIPv6":"fd09::2/64"`, ""))
	if a.Status == http.StatusOK {
		t.Fatalf("CreateEndpoint of a taken id = %v, want an error", a)
	}
	s.checkBound(t, bothPools(), bothAddresses())
}

func TestCreateEndpoint_failedBindUnbindsTheOthers(t *testing.T) {
	t.Parallel()
	s := populated(t)
	s.must(t, "/IpamDriver.RequestAddress", `{"PoolID":"ournet-host/10.9.0.0/24","Address":"10.9.0.3"}`)
	// fd09::2 has another endpoint.
	a := s.ask(t, "/NetworkDriver.CreateEndpoint", endpointBody(otherID, `"Address":"10.9.0.3/24","AddressIPv6":"fd09::2/64"`, ""))
	if a.Status == http.StatusOK {
		t.Fatalf("CreateEndpoint with a taken address = %v, want an error", a)
	}
	s.checkBound(t, bothPools(), bothAddresses())
}
