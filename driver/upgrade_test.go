package driver_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
)

// Records of a version that knew no gateway modes, check of sources or memory of ports,
// as that version wrote them.
const (
	oldNetwork = `{"Version":1,"Network":{"ID":"NID","Options":{"Type":"bridge","Masquerade":true,"ICC":true,"HostBindingIPv4":""},` +
		`"Subnets":[{"Space":"ournet-host","Pool":"10.1.0.0/24","Gateway":"10.1.0.1/24","Aux":{"router":"10.1.0.5"}}],` +
		`"Internal":false,"Created":"2026-11-01T02:03:04.000000005Z"}}`
	oldEndpoint = `{"Version":1,"Endpoint":{"ID":"EID","Network":"NID","Address":"10.1.0.2/24","AddressIPv6":"","MAC":"02:42:0a:01:00:02",` +
		`"Bindings":[{"Protocol":6,"Port":80,"HostAddr":"","HostPort":8080,"HostPortEnd":8080}],` +
		`"Published":[{"Protocol":6,"Port":80,"HostAddr":"0.0.0.0","HostPort":8080,"HostPortEnd":8080}],` +
		`"SandboxKey":"/var/run/docker/netns/1","Created":"2026-11-01T02:03:04.000000005Z"}}`
)

// What an earlier version recorded means what it meant, and is written as that version
// can read it.
func TestRegistry_readsAndWritesTheRecordsOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	nid, eid := strings.Repeat("a", 64), strings.Repeat("e", 64)
	ids := strings.NewReplacer("NID", nid, "EID", eid)
	nkey, ekey := store.LocalNetworkKey(nid), store.LocalEndpointKey(nid, eid)
	kv := memstore.New()
	_, err := kv.Apply(t.Context(), store.Set(nkey, []byte(ids.Replace(oldNetwork))), store.Set(ekey, []byte(ids.Replace(oldEndpoint))))
	if err != nil {
		t.Fatal(err)
	}
	r := openRegistry(t, kv, newKernel())
	n, _ := r.Network(driver.NetworkID(nid))
	equal := cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})
	if diff := cmp.Diff(driver.DefaultOptions(), n.Options, equal); diff != "" {
		t.Errorf("options (-default +read):\n%s", diff)
	}
	if n.Options.AllowSpoofing || n.Options.GatewayMode(false) != driver.GatewayNAT || n.Options.GatewayMode(true) != driver.GatewayNAT || !n.OwnGateway() {
		t.Errorf("the network is %+v, want sources checked and a gateway of its own that translates", n)
	}
	ep, _ := r.Endpoint(n.ID, driver.EndpointID(eid))
	if len(ep.Published) != 1 || ep.Published[0].String() != "0.0.0.0:8080->80/tcp" || ep.InterfaceName != "" {
		t.Errorf("the endpoint is %+v, want its port and no name", ep)
	}
	if err := r.Publish(t.Context(), n.ID, ep.ID, ep.Bindings); err != nil {
		t.Fatal(err)
	}
	if err := r.Unpublish(t.Context(), n.ID, ep.ID); err != nil {
		t.Fatal(err)
	}
	got, err := kv.Get(t.Context(), ekey)
	if err != nil {
		t.Fatal(err)
	}
	before, after, _ := strings.Cut(ids.Replace(oldEndpoint), `"Published":[`)
	_, after, _ = strings.Cut(after, `],`)
	if want := before + after; string(got.Value) != want {
		t.Errorf("after Unpublish the record is %s, want %s", got.Value, want)
	}
}
