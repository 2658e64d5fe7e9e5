package admin

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestCluster_readsWhatThePluginAnswers(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != ClusterPath {
			t.Errorf("asked %s %s", r.Method, r.URL.Path)
		}
		_, _ = io.WriteString(w, `{"store":"consul://c","hosts":[{"id":"h1","name":"one","addresses":["10.0.0.1"],"state":"up","endpoints":2,"self":true}],
			"networks":[{"id":"n1","name":"lab","local":"l1","vni":4097,"subnets":["10.1.0.0/24"],"hosts":["h1"],"later":true}]}`)
	})
	got, err := c.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := Cluster{
		Store: "consul://c",
		Hosts: []Host{{ID: "h1", Name: "one", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, State: HostUp, Endpoints: 2, Self: true}},
		Networks: []SharedNetwork{{
			ID: "n1", Name: "lab", Local: "l1", VNI: 4097, Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}, Hosts: []string{"h1"},
		}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("Cluster (-want +got):\n%s", diff)
	}
}

func TestRemoveHost_asksForOneAndSaysWhyNot(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodDelete || r.URL.Path != HostsPath:
			t.Errorf("asked %s %s", r.Method, r.URL.Path)
		case r.URL.Query().Get("id") == "a&b":
			_, _ = io.WriteString(w, "{}\n")
		default:
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, `{"Err":"host h2 is alive: stop its plugin first"}`+"\n")
		}
	})
	if err := c.RemoveHost(t.Context(), "a&b"); err != nil {
		t.Errorf("RemoveHost = %v", err)
	}
	if err := c.RemoveHost(t.Context(), "h2"); err == nil || !strings.HasSuffix(err.Error(), ": host h2 is alive: stop its plugin first") {
		t.Errorf("RemoveHost = %v, want the plugin's own words", err)
	}
}
