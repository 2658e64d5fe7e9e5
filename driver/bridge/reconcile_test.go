package bridge_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ournet/ournet/driver"
)

// ruleset returns what the packet filter holds, without counters and handles.
func (h *host) ruleset(t *testing.T) string {
	t.Helper()
	return h.ns.Exec(t, "nft", "--stateless", "list", "ruleset")
}

func TestReconcile_bringsBackWhatABootTookAway(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	ep := testEndpoint(n, 1)
	ep.Bindings = []driver.Binding{{Protocol: driver.TCP, Port: 80, HostPort: 8080, HostPortEnd: 8080}}
	must(t, h.EnsureNetwork(t.Context(), n))
	_, err := h.Join(t.Context(), n, ep)
	must(t, err)
	ep.Published, err = h.Publish(t.Context(), n, ep, driver.Former{})
	must(t, err)
	want := []driver.Attached{{Network: n, Endpoints: []driver.Endpoint{ep}}}
	repairs, err := h.Reconcile(t.Context(), want, nil)
	must(t, err)
	if len(repairs) > 0 {
		t.Fatalf("Reconcile of what is right repaired %v", repairs)
	}
	before := h.ruleset(t)

	h.ns.Exec(t, "ip", "link", "delete", "on-000000000001")
	h.ns.Exec(t, "nft", "flush", "ruleset")
	next := newDriver(t, h.ns, "ournet")
	h.letGo(t) // the process before has ended
	repairs, err = next.Reconcile(t.Context(), want, nil)
	must(t, err)
	if !slices.ContainsFunc(repairs, func(s string) bool { return strings.Contains(s, "on-000000000001") }) {
		t.Errorf("repairs = %v, want one that names the bridge", repairs)
	}
	if after := next.ruleset(t); after != before {
		t.Errorf("rules after:\n%s\nwant:\n%s", after, before)
	}
	if held := next.ports.Held(); len(held) != 1 || held[0].Port != 8080 {
		t.Errorf("held ports = %v, want 8080", held)
	}
	repairs, err = next.Reconcile(t.Context(), want, nil)
	must(t, err)
	if len(repairs) > 0 {
		t.Errorf("second Reconcile repaired %v", repairs)
	}
}

func TestReconcile_putsInterfacesBackOnTheirBridge(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	ep := testEndpoint(n, 1)
	must(t, h.EnsureNetwork(t.Context(), n))
	att, err := h.Join(t.Context(), n, ep)
	must(t, err)
	container := h.ns.Exec(t, "ip", "-o", "link", "show", "dev", att.SrcName)
	hostSide := "onv00000000e01"
	h.ns.Exec(t, "ip", "link", "set", hostSide, "nomaster")
	repairs, err := h.Reconcile(t.Context(), []driver.Attached{{Network: n, Endpoints: []driver.Endpoint{ep}}}, nil)
	must(t, err)
	if len(repairs) != 1 || !strings.Contains(repairs[0], hostSide) {
		t.Errorf("repairs = %v, want one that names %s", repairs, hostSide)
	}
	if after := h.ns.Exec(t, "ip", "-o", "link", "show", "dev", att.SrcName); after != container {
		t.Errorf("the container side was touched:\n%s\nwas:\n%s", after, container)
	}
}

func TestReconcile_removesOnlyWhatThisInstanceMade(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	other := newDriver(t, h.ns, "other")
	h.ns.Exec(t, "ip", "link", "add", "on-foreign", "type", "bridge")
	h.ns.Exec(t, "ip", "link", "add", "onvforeign", "type", "veth", "peer", "name", "onpforeign")
	mine, theirs := testNetwork(1), testNetwork(2)
	must(t, h.EnsureNetwork(t.Context(), mine))
	_, err := h.Join(t.Context(), mine, testEndpoint(mine, 1))
	must(t, err)
	must(t, other.EnsureNetwork(t.Context(), theirs))
	_, err = other.Join(t.Context(), theirs, testEndpoint(theirs, 2))
	must(t, err)

	repairs, err := h.Reconcile(t.Context(), nil, nil)
	must(t, err)
	if len(repairs) == 0 {
		t.Error("Reconcile removed nothing")
	}
	want := []string{"on-000000000002", "on-foreign", "onp00000000e02", "onpforeign", "onv00000000e02", "onvforeign"}
	if got := h.devices(t); !slices.Equal(got, want) {
		t.Errorf("devices = %v, want %v", got, want)
	}
}

func TestReconcile_bridgeThatWasNotMarkedInTimeIsOursAgain(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	h.ns.Exec(t, "ip", "link", "add", "on-000000000001", "type", "bridge")
	_, err := h.Reconcile(t.Context(), []driver.Attached{{Network: n}}, nil)
	must(t, err)
	must(t, h.RemoveNetwork(t.Context(), n))
	if d := h.devices(t); len(d) > 0 {
		t.Errorf("left %v", d)
	}
}

func TestReconcile_leavesThePortsOfAnAdoptedBridge(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	h.ns.Exec(t, "ip", "link", "add", "br0", "type", "bridge")
	h.ns.Exec(t, "ip", "link", "add", "onvif0", "type", "veth", "peer", "name", "cam0")
	h.ns.Exec(t, "ip", "link", "set", "onvif0", "master", "br0")
	n := testNetwork(1)
	n.Options.BridgeName = "br0"
	must(t, h.EnsureNetwork(t.Context(), n))
	_, err := h.Reconcile(t.Context(), []driver.Attached{{Network: n}}, nil)
	must(t, err)
	if !slices.Contains(h.devices(t), "onvif0") {
		t.Errorf("user's veth deleted: %v", h.devices(t))
	}
}

func TestReconcile_letsGoOfPortsThatNoRecordHas(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	_, err := h.ports.Hold(6, netip.IPv4Unspecified(), 8080)
	must(t, err)
	_, err = h.Reconcile(t.Context(), nil, nil)
	must(t, err)
	if held := h.ports.Held(); len(held) != 0 {
		t.Errorf("held %v", held)
	}
}

func TestReconcile_sparesWhatANewerVersionMade(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	readable, hidden := testNetwork(1), testNetwork(2)
	for _, n := range []driver.Network{readable, hidden} {
		must(t, h.EnsureNetwork(t.Context(), n))
	}
	known, unknown, elsewhere := testEndpoint(readable, 1), testEndpoint(readable, 2), testEndpoint(hidden, 3)
	for _, ep := range []driver.Endpoint{known, unknown} {
		_, err := h.Join(t.Context(), readable, ep)
		must(t, err)
	}
	_, err := h.Join(t.Context(), hidden, elsewhere)
	must(t, err)
	before := h.devices(t)
	_, err = h.Reconcile(t.Context(), []driver.Attached{{
		Network: readable, Endpoints: []driver.Endpoint{known}, Unreadable: []driver.EndpointID{unknown.ID},
	}}, []driver.NetworkID{hidden.ID})
	must(t, err)
	if after := h.devices(t); !slices.Equal(before, after) {
		t.Errorf("devices = %v, want %v", after, before)
	}
}
