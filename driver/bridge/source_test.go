package bridge_test

import (
	"strings"
	"testing"

	"github.com/ournet/ournet/driver"
)

// checked reports whether what an endpoint's interface sends is checked.
func (h *host) checked(t *testing.T) bool {
	t.Helper()
	return strings.Contains(h.ns.Exec(t, "nft", "list", "table", "bridge", "ournet"), `"onv00000000e01" . 02:42:0a:01:00:02 . 10.1.0.2`)
}

func TestJoin_hasTheSourceCheckedUntilLeave(t *testing.T) {
	t.Parallel()
	for _, allow := range []bool{false, true} {
		h := newHost(t, "ournet")
		n := testNetwork(1)
		n.Options.AllowSpoofing = allow
		ep := testEndpoint(n, 1)
		must(t, h.EnsureNetwork(t.Context(), n))
		_, err := h.Join(t.Context(), n, ep)
		must(t, err)
		if got := h.checked(t); got == allow {
			t.Errorf("AllowSpoofing = %t: that the source is checked is %t", allow, got)
		}
		repairs, err := h.Reconcile(t.Context(), []driver.Attached{{Network: n, Endpoints: []driver.Endpoint{ep}}}, nil)
		must(t, err)
		if len(repairs) > 0 {
			t.Errorf("AllowSpoofing = %t: Reconcile repaired %q", allow, repairs)
		}
		must(t, h.Leave(t.Context(), n, ep))
		if h.checked(t) {
			t.Errorf("AllowSpoofing = %t: the source is checked after Leave", allow)
		}
	}
}

// What was checked stays so while the process is away, and comes back when it was
// flushed. What is right is not touched by the next process.
func TestReconcile_sourcesAreCheckedAcrossRestarts(t *testing.T) {
	t.Parallel()
	h := newHost(t, "ournet")
	n := testNetwork(1)
	ep, absent := testEndpoint(n, 1), testEndpoint(n, 2)
	absent.SandboxKey = ""
	want := []driver.Attached{{Network: n, Endpoints: []driver.Endpoint{ep, absent}}}
	must(t, h.EnsureNetwork(t.Context(), n))
	_, err := h.Join(t.Context(), n, ep)
	must(t, err)
	next := newDriver(t, h.ns, "ournet")
	repairs, err := next.Reconcile(t.Context(), want, nil)
	must(t, err)
	if len(repairs) > 0 || !next.checked(t) {
		t.Errorf("the next process repaired %q", repairs)
	}
	h.ns.Exec(t, "nft", "delete", "table", "bridge", "ournet")
	repairs, err = next.Reconcile(t.Context(), want, nil)
	must(t, err)
	if len(repairs) != 1 || !next.checked(t) {
		t.Errorf("after the table was deleted Reconcile repaired %q", repairs)
	}
}
