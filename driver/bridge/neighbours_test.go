package bridge_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ournet/ournet/driver"
)

// The engine's own networks are kept apart from ours whatever their devices are called;
// but not one that is the host's way out too.
func TestReconcile_isolatesFromTheEnginesNetworksByAnyName(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	if err := h.EnsureNetwork(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"docker0 type bridge", "named type bridge", "uplink type bridge", "users type bridge",
		"veth0000001 type veth peer name p1", "eth7 type veth peer name p7", "veth0000002 type veth peer name p2",
	} {
		h.ns.Exec(t, "ip", append([]string{"link", "add"}, strings.Fields(args)...)...)
	}
	for port, bridge := range map[string]string{"veth0000001": "named", "eth7": "uplink", "veth0000002": "uplink"} {
		h.ns.Exec(t, "ip", "link", "set", port, "master", bridge)
	}
	for _, c := range []struct {
		engine []string
		news   bool
		want   []string
	}{
		{[]string{"docker0"}, false, []string{"docker0"}},
		{[]string{"docker0", "uplink", "named", "gone", "on-" + string(n.ID[:12])}, true, []string{"docker0", "named"}},
		{[]string{"named", "uplink", "docker0", "gone", "on-" + string(n.ID[:12])}, false, []string{"docker0", "named"}},
		{nil, true, []string{"docker0"}},
	} {
		if news := h.SetEngineBridges(c.engine); news != c.news {
			t.Errorf("SetEngineBridges(%q) = %t, want %t", c.engine, news, c.news)
		}
		if _, err := h.Reconcile(t.Context(), []driver.Attached{{Network: n}}, nil); err != nil {
			t.Fatal(err)
		}
		list := h.ns.Exec(t, "nft", "list", "set", "inet", "ournet", "engine")
		var got []string
		for i, word := range strings.Split(list, `"`) {
			if i%2 == 1 {
				got = append(got, word)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("with %q of the engine's ours are isolated from %q, want %q", c.engine, got, c.want)
		}
	}
}
