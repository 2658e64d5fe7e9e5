package cli

import (
	"encoding/json"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/admin"
)

// cluster is what a plugin says of its cluster: one network here, one that cannot be
// here, one that is going; one host that gives no sign of life.
func cluster(seen time.Time) admin.Cluster {
	made := time.Date(2026, 11, 1, 2, 3, 4, 0, time.UTC)
	return admin.Cluster{
		Store: "consul://10.0.0.9:8500/ournet",
		Hosts: []admin.Host{
			{ID: id("a2"), Name: "two", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2")}, State: admin.HostSuspect, LastSeen: seen, Version: "1.0"},
			{
				ID: id("a1"), Name: "one", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")},
				State: admin.HostUp, Endpoints: 3, Version: "1.0", Self: true,
			},
		},
		Networks: []admin.SharedNetwork{
			{
				ID: id("c1"), Name: "front", Local: id("f1"), VNI: 4097, MTU: 1450, Subnets: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")},
				Created: made, Hosts: []string{id("a1"), id("a2")}, Endpoints: 5,
			},
			{
				ID: id("c2"), Name: "lab", VNI: 4098, MTU: 1450, Subnets: []netip.Prefix{netip.MustParsePrefix("10.9.7.0/24")}, Created: made,
				Hosts: []string{id("a2")}, Problem: "the name lab is taken on this host",
			},
			{ID: id("cc"), Name: "old", VNI: 4099, MTU: 1450, Subnets: []netip.Prefix{netip.MustParsePrefix("10.9.8.0/24")}, Created: made, Hosts: []string{id("a2")}, Removed: true},
		},
	}
}

// clustered answers as the plugin of a cluster, and notes which hosts are removed.
func clustered(t *testing.T, have admin.Cluster) (socket string, removed *[]string) {
	t.Helper()
	removed = new([]string)
	local := estate()
	local.Networks[1].Type, local.Networks[1].Shared = "overlay", id("c1")
	local.Networks[1].Pools = []admin.Pool{{Subnet: netip.MustParsePrefix("10.9.0.0/24"), Used: 4, Free: 249}}
	local.Networks[2].Pools = []admin.Pool{
		{Subnet: netip.MustParsePrefix("10.9.2.0/24"), Used: 1, Free: 253}, {Subnet: netip.MustParsePrefix("fd09:2::/64"), Used: 1, Free: math.MaxUint64},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+admin.NetworksPath, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(local) // a broken connection is the client's to report
	})
	mux.HandleFunc("GET "+admin.ClusterPath, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(have) // likewise
	})
	mux.HandleFunc("DELETE "+admin.HostsPath, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("id") == id("a1") {
			w.WriteHeader(http.StatusInternalServerError)
			_ = json.NewEncoder(w).Encode(struct{ Err string }{"host one is alive"}) // likewise
			return
		}
		*removed = append(*removed, r.URL.Query().Get("id"))
		_, _ = w.Write([]byte("{}\n")) // likewise
	})
	return serve(t, mux), removed
}

func TestCluster_listsAreGolden(t *testing.T) {
	t.Parallel()
	socket, _ := clustered(t, cluster(time.Now().Add(-90*time.Second)))
	for name, args := range map[string]string{
		"hosts":             "host ls",
		"hosts-json":        "host ls --no-trunc --format json",
		"networks":          "network ls",
		"networks-template": "network ls --format {{.ClusterID}}:{{.HostNames}}:{{.Endpoints}}:{{.MTU}}",
		"network-inspect":   "network inspect front closed",
		"network-status":    "network inspect --format {{.Name}}={{.Status}} lab " + id("cc")[:4],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := call(t, socket, fakeEngine{}, strings.Fields(args)...)
			if got.err != nil || got.stderr != "" {
				t.Fatalf("%s = %+v", args, got)
			}
			golden(t, name, got.stdout)
		})
	}
}

func TestHostRemove_byNameAndByTheBeginningOfAnId(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{"two", id("a2"), id("a2")[:12]} {
		socket, removed := clustered(t, cluster(time.Now()))
		got := call(t, socket, fakeEngine{}, "host", "rm", arg)
		if got.err != nil || got.stdout != arg+"\n" || len(*removed) != 1 || (*removed)[0] != id("a2") {
			t.Errorf("host rm %s = %+v, removed %v", arg, got, *removed)
		}
	}
}

func TestHostRemove_saysWhyNot(t *testing.T) {
	t.Parallel()
	socket, removed := clustered(t, cluster(time.Now()))
	got := call(t, socket, fakeEngine{}, "host", "rm", "one", "three", "two")
	if got.err == nil || !strings.Contains(got.err.Error(), "host one is alive") || !strings.Contains(got.err.Error(), `no host in the cluster with the name or id "three"`) {
		t.Errorf("host rm = %+v, want both reasons", got)
	}
	if got.stdout != "two\n" || len(*removed) != 1 {
		t.Errorf("host rm = %+v, want the third removed all the same", got)
	}
}

func TestCluster_saysThatTheStoreIsAway(t *testing.T) {
	t.Parallel()
	have := cluster(time.Now())
	have.Problem = "consul does not answer at 10.0.0.9:8500"
	socket, _ := clustered(t, have)
	got := call(t, socket, fakeEngine{}, "host", "ls", "--format", "{{.Name}}")
	if got.err != nil || got.stdout != "one\ntwo\n" || !strings.Contains(got.stderr, have.Problem) || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("host ls = %+v, want the list and one line that says why", got)
	}
}

func TestNetworkInspect_unknownIsAnError(t *testing.T) {
	t.Parallel()
	socket, _ := clustered(t, cluster(time.Now()))
	got := call(t, socket, fakeEngine{}, "network", "inspect", "nosuch")
	if got.err == nil || got.stdout != "" || !strings.Contains(got.err.Error(), `no network of ournet's with the name or id "nosuch"`) {
		t.Errorf("network inspect = %+v", got)
	}
}
