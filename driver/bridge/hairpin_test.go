package bridge_test

import (
	"strings"
	"testing"

	"github.com/ournet/ournet/driver"
)

// With br_netfilter a call of a container to its own published port comes back to
// the port of the bridge that it came from.
func TestPublish_containersOwnPortIsLetBackIn(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	ep := testEndpoint(n, 1)
	ep.Bindings = []driver.Binding{{Protocol: driver.TCP, Port: 80, HostPort: 8080, HostPortEnd: 8080}}
	h.attach(t, n, ep)
	var err error
	ep.Published, err = h.Publish(t.Context(), n, ep, driver.Former{})
	must(t, err)
	h.wantHairpin(t, ep)

	h.ns.Exec(t, "ip", "link", "delete", "on-000000000001") // the setting goes with it
	_, err = h.Reconcile(t.Context(), []driver.Attached{{Network: n, Endpoints: []driver.Endpoint{ep}}}, nil)
	must(t, err)
	h.wantHairpin(t, ep)
}

func (h *host) wantHairpin(t *testing.T, ep driver.Endpoint) {
	t.Helper()
	port := h.ns.Exec(t, "bridge", "-d", "link", "show", "dev", "onv"+string(ep.ID[:11]))
	if !strings.Contains(port, "hairpin on") {
		t.Errorf("hairpin is not on: %s", port)
	}
}
