package overlay_test

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ournet/ournet/driver"
)

// What somebody takes away or changes by hand is back after the next comparison, which
// says what it was and finds nothing more to do then.
func TestReconcile_bringsBackWhatWasTakenByHand(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, harm, says string
		entry            bool // news of which only the table's watch brings
	}{
		{"forwarding entry of the tunnel", "bridge fdb del 02:42:0a:01:01:03 dev onx123401 self", "dst 192.0.2.2", true},
		{"forwarding entry of the bridge", "bridge fdb del 02:42:0a:01:01:03 dev onx123401 master", "02:42:0a:01:01:03 dev onx123401", true},
		{"forwarding entry to elsewhere", "bridge fdb replace 02:42:0a:01:01:03 dev onx123401 dst 192.0.2.77 self", "dst 192.0.2.2", true},
		{"forwarding entry of a stranger", "bridge fdb add 02:42:0a:01:00:63 dev onx123401 dst 192.0.2.77 self", "left over", true},
		{"flood entry", "bridge fdb del 00:00:00:00:00:00 dev onx123401 dst 192.0.2.2 self", "00:00:00:00:00:00", true},
		{"flood entry of a stranger", "bridge fdb append 00:00:00:00:00:00 dev onx123401 dst 192.0.2.77 self", "left over", true},
		{"neighbour", "ip neigh del 10.1.1.3 dev on-000000000001", "10.1.1.3 lladdr", true},
		{"IPv6 neighbour", "ip neigh del fd00:2::3 dev on-000000000001", "fd00:2::3 lladdr", true},
		{"neighbour with another's MAC", "ip neigh replace 10.1.1.3 lladdr 02:00:00:00:00:01 dev on-000000000001 nud permanent", "10.1.1.3 lladdr", true},
		{"own container's entry", "bridge fdb del 02:42:0a:01:00:02 dev onv00000000e01 master", "dev onv00000000e01", true},
		{"tunnel", "ip link delete onx123401", "tunnel onx123401 of network 000000000001 was missing", false},
		{"tunnel off its bridge", "ip link set onx123401 nomaster", "tunnel onx123401 of network 000000000001 was changed", false},
		{"tunnel down", "ip link set onx123401 down", "was changed", false},
		{"tunnel that learns", "ip link set onx123401 type bridge_slave learning on neigh_suppress off", "was changed", false},
		{"tunnel with another MTU", "ip link set onx123401 mtu 1400", "was changed", false},
		{"bridge", "ip link delete on-000000000001", "bridge on-000000000001 of network 000000000001 was missing", false},
		{"bridge down and up", "ip link set on-000000000001 down", "bridge on-000000000001 of network 000000000001 was changed", false},
		{"container's interface", "ip link delete onv00000000e01", "interface onv00000000e01 of endpoint", false},
		{"container's interface off its bridge", "ip link set onv00000000e01 nomaster", "interface onv00000000e01 was off", false},
		{"rules", "nft flush ruleset", "nft table", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2, false)
			l.up(t)
			h := l.hosts[0]
			a := h.start(t, 1, "10.1.0.2/24", "fd00:1::2/64")
			b := l.hosts[1].start(t, 2, "10.1.1.3/24", "fd00:2::3/64") // by the routes to other subnets
			heard := h.watch(t)
			h.ns.Exec(t, "sh", "-c", tc.harm)
			if tc.entry {
				select {
				case <-heard:
				case <-time.After(5 * time.Second):
					t.Error("it was not noticed")
				}
			}
			if repairs := h.reconcile(t); !slices.ContainsFunc(repairs, func(s string) bool { return strings.Contains(s, tc.says) }) {
				t.Errorf("repairs = %q, want one that says %q", repairs, tc.says)
			}
			if repairs := h.reconcile(t); len(repairs) > 0 {
				t.Errorf("second Reconcile repaired %q", repairs)
			}
			for _, addr := range b.ep.Addrs() {
				if !a.reaches(t, addr, 56) {
					t.Errorf("%s is not reached", addr)
				}
			}
		})
	}
}

// watch returns what tells that somebody changed a table.
func (h *host) watch(t *testing.T) (heard <-chan string) {
	t.Helper()
	to := make(chan string, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- h.ns.Do(func() error {
			return h.Watch(ctx, func(cause string) {
				select {
				case to <- cause:
				default:
				}
			})
		})
	}()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	// It is told from when the kernel has its socket, in the group of neighbours (bit 2
	// of the fourth column).
	subscribed := regexp.MustCompile(`(?m)^\S+ +0 +\S+ +0*4 `)
	for {
		var sockets []byte
		h.ns.Run(t, func() (err error) {
			sockets, err = os.ReadFile("/proc/thread-self/net/netlink")
			return err
		})
		if subscribed.Match(sockets) {
			return to
		}
	}
}

// What the driver does itself is no reason to compare everything.
func TestWatch_ownChangesAreNoNews(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, false)
	l.up(t)
	h := l.hosts[0]
	heard := h.watch(t)
	c := h.start(t, 1, "10.1.0.2/24", "fd00:1::2/64")
	l.hosts[1].start(t, 2, "10.1.0.3/24", "fd00:1::3/64")
	l.withdraw(t, l.hosts[1])
	h.ns.Run(t, func() error { return h.Leave(t.Context(), *l.net, c.ep) })
	h.ns.Exec(t, "bridge", "fdb", "add", "02:42:0a:01:00:63", "dev", "onx123401", "dst", "192.0.2.77", "self")
	<-heard // the last of all, and the first that is told
	select {
	case cause := <-heard:
		t.Errorf("told twice: %s", cause)
	default:
	}
	if repairs := h.reconcileWithout(t, c); len(repairs) != 1 || !strings.Contains(repairs[0], "02:42:0a:01:00:63") {
		t.Errorf("repairs = %q, want the stranger's entry alone", repairs)
	}
}

// reconcileWithout is reconcile after an endpoint was deleted.
func (h *host) reconcileWithout(t *testing.T, c *container) []string {
	t.Helper()
	h.records[0].Endpoints = slices.DeleteFunc(h.records[0].Endpoints, func(ep driver.Endpoint) bool { return ep.ID == c.ep.ID })
	return h.reconcile(t)
}

// The next process finds what the one before left, or what a boot took away.
func TestReconcile_nextProcessTakesOver(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, false)
	l.up(t)
	h := l.hosts[0]
	a, b := h.start(t, 1, "10.1.0.2/24"), l.hosts[1].start(t, 2, "10.1.0.3/24")
	h.boot(t)
	if repairs := h.reconcile(t); len(repairs) > 0 {
		t.Errorf("the next process repaired %q", repairs)
	}
	if !a.reaches(t, b.ep.Address.Addr(), 56) {
		t.Error("the containers do not reach each other")
	}
	// Half of it, as after a crash in the middle.
	for _, cmd := range []string{"nft flush ruleset", "ip link delete onx123401", "ip link delete on-000000000001", "ip link add on-000000000001 type bridge"} {
		h.ns.Exec(t, "sh", "-c", cmd)
	}
	h.boot(t)
	h.reconcile(t)
	if repairs := h.reconcile(t); len(repairs) > 0 {
		t.Errorf("second Reconcile repaired %q", repairs)
	}
	if !a.reaches(t, b.ep.Address.Addr(), 56) {
		t.Error("the containers do not reach each other")
	}
}

func TestReconcile_removesWhatNoRecordHas(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, false)
	l.up(t)
	h := l.hosts[0]
	h.start(t, 1, "10.1.0.2/24")
	h.ns.Exec(t, "ip", "link", "add", "onxforeign", "type", "vxlan", "id", "9", "dstport", "4789", "local", "192.0.2.1")
	h.records = nil
	h.boot(t)
	h.reconcile(t)
	if left := h.ns.Exec(t, "sh", "-c", "ip -br link show | grep on | cut -d' ' -f1"); left != "onxforeign\n" {
		t.Errorf("left %q", left)
	}
	if rules := h.ns.Exec(t, "nft", "list", "ruleset"); strings.Contains(rules, "on-0000") || strings.Contains(rules, "onv0000") {
		t.Errorf("rules left:\n%s", rules)
	}
}

func TestReconcile_sparesWhatANewerVersionMade(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, false)
	l.up(t)
	h := l.hosts[0]
	h.start(t, 1, "10.1.0.2/24")
	var err error
	h.boot(t)
	h.ns.Run(t, func() error {
		_, err = h.Reconcile(t.Context(), nil, []driver.NetworkID{l.net.ID})
		return err
	})
	left := h.ns.Exec(t, "ip", "-br", "link")
	for _, name := range []string{"on-000000000001", "onx123401", "onv00000000e01"} {
		if !strings.Contains(left, name) {
			t.Errorf("%s is gone:\n%s", name, left)
		}
	}
}

func TestRemoveNetwork_leavesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, false)
	l.up(t)
	l.up(t) // again is the same as once
	h := l.hosts[0]
	c := h.start(t, 1, "10.1.0.2/24", "fd00:1::2/64")
	for range 2 {
		h.ns.Run(t, func() error { return h.Leave(t.Context(), *l.net, c.ep) })
	}
	for range 2 {
		h.ns.Run(t, func() error { return h.RemoveNetwork(t.Context(), *l.net) })
	}
	h.ns.Run(t, func() error { return h.Refresh(t.Context(), *l.net) })
	if left := h.ns.Exec(t, "sh", "-c", "ip -br link show | grep ^on || true"); left != "" {
		t.Errorf("left %q", left)
	}
	if rules := h.ns.Exec(t, "nft", "list", "ruleset"); strings.Contains(rules, "on-0000") || strings.Contains(rules, "onv0000") || strings.Contains(rules, "0x0134") {
		t.Errorf("rules left:\n%s", rules)
	}
}
