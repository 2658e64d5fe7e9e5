package driver_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
)

// web is what a container publishes in these tests.
func web(hostPort uint16) []driver.Binding {
	return []driver.Binding{{Protocol: driver.TCP, Port: 80, HostPort: hostPort, HostPortEnd: hostPort}}
}

// again is the endpoint of a container's next start: another id, the same address.
func again(ep driver.Endpoint, i int) driver.Endpoint {
	ep.ID = endpointID(i)
	return ep
}

func remembered(t *testing.T, kv store.KV) []string {
	t.Helper()
	pairs, _, err := kv.List(t.Context(), store.LocalPortsPrefix(), 0)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, p := range pairs {
		keys = append(keys, p.Key)
	}
	return keys
}

func TestPublish_tellsWhatTheContainerAndOthersHad(t *testing.T) {
	t.Parallel()
	kv, k := memstore.New(), newKernel()
	r := openRegistry(t, kv, k)
	n := testNetwork(1)
	must(t, r.CreateNetwork(t.Context(), n))
	first, second := testEndpoint(1, 1), testEndpoint(1, 2)
	publish(t, r, first, web(8080))
	publish(t, r, second, web(8081))
	must(t, r.DeleteEndpoint(t.Context(), n.ID, first.ID))
	must(t, r.DeleteEndpoint(t.Context(), n.ID, second.ID))

	check := func(when string, own uint16, own2 bool) {
		t.Helper()
		if got := k.former.Own; len(got) != 1 || got[0].HostPort != own {
			t.Errorf("%s: it had %v, want port %d", when, got, own)
		}
		if got := k.former.Others(driver.TCP, 8080); got != own2 {
			t.Errorf("%s: others had 8080: %t", when, got)
		}
		if k.former.Others(driver.UDP, 8080) || k.former.Others(driver.TCP, 8082) {
			t.Errorf("%s: others had what nobody had", when)
		}
	}
	publish(t, r, again(first, 11), web(8080))
	check("the next start", 8080, false)
	r = openRegistry(t, kv, k)
	publish(t, r, again(second, 12), web(8081))
	check("after a restart", 8081, true)

	must(t, r.DeleteNetwork(t.Context(), n.ID))
	if keys := remembered(t, kv); len(keys) > 0 {
		t.Errorf("remembered without the network: %v", keys)
	}
	must(t, r.CreateNetwork(t.Context(), n))
	publish(t, r, again(first, 21), web(8080))
	if len(k.former.Own) > 0 || k.former.Others(driver.TCP, 8081) {
		t.Errorf("a new network remembers %v", k.former.Own)
	}
}

// The engine takes the ports back on one network before it publishes them on another.
func TestPublish_portsMoveWithTheGateway(t *testing.T) {
	t.Parallel()
	k := newKernel()
	r := openRegistry(t, memstore.New(), k)
	for i := 1; i <= 2; i++ {
		must(t, r.CreateNetwork(t.Context(), testNetwork(i)))
	}
	const sandbox = "/var/run/docker/netns/one"
	first, second, stranger := testEndpoint(1, 1), testEndpoint(2, 2), testEndpoint(2, 3)
	for _, ep := range []driver.Endpoint{first, second} {
		_, err := r.CreateEndpoint(t.Context(), ep)
		must(t, err)
		_, err = r.Join(t.Context(), ep.Network, ep.ID, sandbox)
		must(t, err)
	}
	must(t, r.Publish(t.Context(), first.Network, first.ID, web(40000)))
	must(t, r.Unpublish(t.Context(), first.Network, first.ID))
	must(t, r.Publish(t.Context(), second.Network, second.ID, web(40000)))
	if own := k.former.Own; len(own) != 1 || own[0].HostPort != 40000 {
		t.Errorf("on its other network the container had %v", own)
	}
	// Disconnected, it is gone before the engine publishes on another network.
	third := testEndpoint(1, 4)
	_, err := r.CreateEndpoint(t.Context(), third)
	must(t, err)
	_, err = r.Join(t.Context(), third.Network, third.ID, sandbox)
	must(t, err)
	must(t, r.DeleteEndpoint(t.Context(), first.Network, first.ID))
	must(t, r.DeleteEndpoint(t.Context(), second.Network, second.ID))
	must(t, r.Publish(t.Context(), third.Network, third.ID, web(40000)))
	if own := k.former.Own; len(own) != 1 || own[0].HostPort != 40000 {
		t.Errorf("after a disconnect the container had %v", own)
	}
	must(t, r.DeleteEndpoint(t.Context(), third.Network, third.ID))
	// Who has the name of the sandbox next is another.
	_, err = r.CreateEndpoint(t.Context(), testEndpoint(1, 5))
	must(t, err)
	_, err = r.Join(t.Context(), networkID(1), endpointID(5), sandbox)
	must(t, err)
	must(t, r.Publish(t.Context(), networkID(1), endpointID(5), web(40002)))
	if own := k.former.Own; len(own) > 0 {
		t.Errorf("the next container had %v", own)
	}
	publish(t, r, stranger, web(40001))
	if own := k.former.Own; len(own) > 0 || !k.former.Others(driver.TCP, 40000) {
		t.Errorf("another container had %v", own)
	}
}

func TestPublish_remembersTheLatestAndThoseInUse(t *testing.T) {
	t.Parallel()
	const size = 1024
	kv, k := memstore.New(), newKernel()
	r := openRegistry(t, kv, k)
	n := testNetwork(1)
	must(t, r.CreateNetwork(t.Context(), n))
	ep := func(i int) driver.Endpoint {
		ep := testEndpoint(1, i)
		ep.Address = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 16)
		return ep
	}
	publish(t, r, ep(0), web(1000)) // stays
	for i := 1; i <= size+10; i++ {
		publish(t, r, ep(i), web(uint16(1000+i)))
		must(t, r.DeleteEndpoint(t.Context(), n.ID, ep(i).ID))
	}
	keys := remembered(t, kv)
	key := func(i int) string { return store.LocalPortsKey(string(n.ID), ep(i).Address.Addr().String()) }
	if len(keys) > size+1 || !slices.Contains(keys, key(0)) || !slices.Contains(keys, key(size+10)) || slices.Contains(keys, key(1)) {
		t.Errorf("%d are remembered; first %t, last %t, oldest of the rest %t", len(keys),
			slices.Contains(keys, key(0)), slices.Contains(keys, key(size+10)), slices.Contains(keys, key(1)))
	}
}

// After a crash nobody tells us that the former endpoint is gone.
func TestPublish_formerEndpointOfTheAddressLetsGo(t *testing.T) {
	t.Parallel()
	k := newKernel()
	r := openRegistry(t, memstore.New(), k)
	n := testNetwork(1)
	must(t, r.CreateNetwork(t.Context(), n))
	first := testEndpoint(1, 1)
	publish(t, r, first, web(8080))
	must(t, k.Leave(t.Context(), n, first))
	publish(t, r, again(first, 2), []driver.Binding{{Protocol: driver.TCP, Port: 80}})
	if had, _ := r.Endpoint(n.ID, first.ID); len(had.Published) > 0 {
		t.Errorf("the former endpoint still has %v", had.Published)
	}
}

func TestOpen_skipsRecordsOfPortsItCannotRead(t *testing.T) {
	t.Parallel()
	kv := memstore.New()
	_, err := kv.Apply(t.Context(),
		store.Set(store.LocalPortsKey("x", "10.1.0.2"), []byte("{")),
		store.Set(store.LocalPortsKey("y", "10.1.0.2"), []byte(`{"Version":99,"New":1}`)))
	must(t, err)
	r := openRegistry(t, kv, newKernel())
	must(t, r.CreateNetwork(t.Context(), testNetwork(1)))
	publish(t, r, testEndpoint(1, 1), web(8080))
}

// An earlier version left the ports of the networks that it deleted. Those of a network
// of a later version are not ours to forget.
func TestOpen_forgetsPortsOfNetworksThatAreGone(t *testing.T) {
	t.Parallel()
	kv, k := memstore.New(), newKernel()
	r := openRegistry(t, kv, k)
	for i := 1; i <= 3; i++ {
		must(t, r.CreateNetwork(t.Context(), testNetwork(i)))
		for j := range 40 {
			ep := testEndpoint(i, 100*i+j)
			ep.Address = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, byte(2 + j)}), 24)
			publish(t, r, ep, web(uint16(8000+100*i+j)))
			must(t, r.DeleteEndpoint(t.Context(), ep.Network, ep.ID))
		}
	}
	if n := len(remembered(t, kv)); n != 120 {
		t.Fatalf("%d are remembered, want 120", n)
	}
	_, err := kv.Apply(t.Context(), store.Delete(store.LocalNetworkKey(string(networkID(1)))),
		store.Set(store.LocalNetworkKey(string(networkID(2))), []byte(`{"version":999}`)))
	must(t, err)

	r = openRegistry(t, kv, k)
	keys := remembered(t, kv)
	if slices.ContainsFunc(keys, func(key string) bool { return strings.Contains(key, string(networkID(1))) }) || len(keys) != 80 {
		t.Errorf("%d are remembered, want 40 of each network that has a record", len(keys))
	}
	must(t, r.CreateNetwork(t.Context(), testNetwork(1)))
	publish(t, r, testEndpoint(3, 1), web(8099))
	if k.former.Others(driver.TCP, 8101) || !k.former.Others(driver.TCP, 8201) {
		t.Error("a port of the network that is gone is avoided, or one of the unreadable is not")
	}
}
