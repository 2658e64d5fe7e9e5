package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func discard() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// id returns an id of the engine's form that begins with n.
func id(n int) string { return fmt.Sprintf("%08x%056x", n, n) }

func spec(n int, subnet string) cluster.NetworkSpec {
	return cluster.NetworkSpec{
		ID: cluster.NetworkID(id(n)), IPv4: true,
		Subnets: []cluster.Subnet{{Pool: netip.MustParsePrefix(subnet)}},
	}
}

func endpoint(network cluster.NetworkID, n int) cluster.Endpoint {
	return cluster.Endpoint{
		Network: network, ID: cluster.EndpointID(id(n)), MAC: fmt.Sprintf("02:42:0a:%02x:%02x:%02x", n>>16&255, n>>8&255, n&255),
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})}, Name: fmt.Sprintf("c%d", n),
	}
}

// tb is what a host of a test says of it.
type tb interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// host is one host of a test: its disk stays when its process ends.
type host struct {
	t      tb
	n      int
	disk   store.KV
	shared cluster.Store
	opts   cluster.Options

	*cluster.Cluster
	cancel context.CancelFunc
	ended  chan error
}

func newHost(t tb, n int, shared cluster.Store) *host {
	t.Helper()
	h := &host{t: t, n: n, disk: memstore.New(), shared: shared}
	h.opts = cluster.Options{Host: cluster.Host{
		Name: fmt.Sprintf("host%d", n), VTEPs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})}, Port: 4789,
	}}
	return h
}

// start starts the host's process.
func (h *host) start() *host {
	h.t.Helper()
	c, err := cluster.Open(h.t.Context(), discard(), h.disk, h.shared, h.opts)
	if err != nil {
		h.t.Fatalf("host %d: %v", h.n, err)
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	h.Cluster, h.cancel, h.ended = c, cancel, make(chan error, 1)
	go func() { h.ended <- c.Run(ctx) }()
	return h
}

// stop ends the host's process; its lease is left to end by itself.
func (h *host) stop() {
	h.t.Helper()
	h.cancel()
	if err := <-h.ended; !errors.Is(err, context.Canceled) {
		h.t.Errorf("host %d: Run = %v", h.n, err)
	}
}

func (h *host) join(s cluster.NetworkSpec) cluster.Network {
	h.t.Helper()
	n, err := h.JoinNetwork(h.t.Context(), s)
	if err != nil {
		h.t.Fatalf("host %d: join: %v", h.n, err)
	}
	return n
}

func (h *host) announce(e cluster.Endpoint) {
	h.t.Helper()
	if err := h.Announce(h.t.Context(), e); err != nil {
		h.t.Fatalf("host %d: announce: %v", h.n, err)
	}
}

func (h *host) wantEndpoints(network cluster.NetworkID, want ...int) {
	h.t.Helper()
	var have []string
	for _, e := range h.View().Endpoints(network) {
		have = append(have, string(e.ID))
	}
	wanted := make([]string, 0, len(want))
	for _, n := range want {
		wanted = append(wanted, id(n))
	}
	slices.Sort(have)
	slices.Sort(wanted)
	if !slices.Equal(have, wanted) {
		h.t.Errorf("host %d sees endpoints %v, want %v", h.n, have, wanted)
	}
}

// quiet lets everything happen that is due within some time.
func quiet(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestCluster_hostsSeeEachOthersNetworksAndEndpoints(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := memstore.New()
		a, b := newHost(t, 1, shared).start(), newHost(t, 2, shared).start()
		defer a.stop()
		defer b.stop()
		n := a.join(spec(1, "10.1.0.0/24"))
		a.announce(endpoint(n.ID, 11))
		if err := a.CompleteNetwork(t.Context(), n.ID, cluster.Completion{Name: "lab", Labels: map[string]string{"x": "y"}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		seen := b.View().Named("lab")
		if len(seen) != 1 || seen[0].ID != n.ID || seen[0].Labels["x"] != "y" || b.View().Joined(n.ID) {
			t.Fatalf("b sees %+v, joined %t", seen, b.View().Joined(n.ID))
		}
		// b's engine has an id of its own for it; the subnet says which it is.
		if got := b.join(spec(2, "10.1.0.0/24")); got.ID != n.ID || got.VNI != n.VNI {
			t.Errorf("b joined %+v, want %+v", got, n)
		}
		b.announce(endpoint(n.ID, 22))
		synctest.Wait()
		for _, h := range []*host{a, b} {
			h.wantEndpoints(n.ID, 11, 22)
			if got := h.View().Members(n.ID); len(got) != 2 {
				t.Errorf("host %d sees members %v", h.n, got)
			}
			if got := h.View().Hosts(); len(got) != 2 || got[0].Suspect || got[1].Suspect {
				t.Errorf("host %d sees hosts %+v", h.n, got)
			}
		}
		if err := b.Withdraw(t.Context(), n.ID, cluster.EndpointID(id(22))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		a.wantEndpoints(n.ID, 11)
	})
}

// A host's address changes while it runs: the others hear of it, and it stays so.
func TestMove_othersSendToTheNewAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := memstore.New()
		a, b := newHost(t, 1, shared).start(), newHost(t, 2, shared).start()
		defer a.stop()
		defer b.stop()
		synctest.Wait()
		changes := b.Changes()
		defer changes.Close()
		moved := netip.MustParseAddr("192.0.2.99")
		if err := a.Move(t.Context(), []netip.Addr{moved}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		change, err := changes.Wait(t.Context())
		if err != nil || !slices.Contains(change.Hosts, a.Self().ID) {
			t.Errorf("host 2 hears of %+v, %v, want of host 1", change, err)
		}
		for _, h := range []*host{a, b} {
			if got, _ := h.View().Host(a.Self().ID); !slices.Equal(got.VTEPs, []netip.Addr{moved}) {
				t.Errorf("host %d sends to %v, want %s", h.n, got.VTEPs, moved)
			}
		}
		quiet(5 * time.Minute) // in which each host compares what it said with what the store has
		if got, _ := b.View().Host(a.Self().ID); !slices.Equal(got.VTEPs, []netip.Addr{moved}) {
			t.Errorf("host 2 sends to %v after a while, want %s", got.VTEPs, moved)
		}
	})
}

func TestLeaveNetwork_removedByOneIsGoneWhenAllHaveLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := memstore.New()
		a, b := newHost(t, 1, shared).start(), newHost(t, 2, shared).start()
		defer a.stop()
		defer b.stop()
		n := a.join(spec(1, "10.1.0.0/24"))
		b.join(spec(2, "10.1.0.0/24"))
		b.announce(endpoint(n.ID, 22))
		if err := a.LeaveNetwork(t.Context(), n.ID, true); err != nil {
			t.Fatal(err)
		}
		quiet(5 * time.Second)
		if v := b.View(); !v.Removed(n.ID) || !v.Joined(n.ID) {
			t.Errorf("b: removed %t, joined %t, want true, true", v.Removed(n.ID), v.Joined(n.ID))
		}
		if err := b.LeaveNetwork(t.Context(), n.ID, false); err != nil {
			t.Fatal(err)
		}
		quiet(5 * time.Second)
		pairs, _, err := shared.List(t.Context(), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pairs {
			for _, prefix := range []string{store.NetworksPrefix(), store.EndpointsPrefix(), store.VNIsPrefix()} {
				if len(p.Key) > len(prefix) && p.Key[:len(prefix)] == prefix {
					t.Errorf("%s is left", p.Key)
				}
			}
		}
		if got := len(a.View().Networks()) + len(b.View().Networks()); got != 0 {
			t.Errorf("%d networks are left in views", got)
		}
	})
}

func TestRemoveHost_cutOffAndBackSaysEverythingAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := memstore.New()
		a, b := newHost(t, 1, shared).start(), newHost(t, 2, shared).start()
		defer a.stop()
		n := a.join(spec(1, "10.1.0.0/24"))
		b.join(spec(2, "10.1.0.0/24"))
		b.announce(endpoint(n.ID, 22))
		synctest.Wait()
		if err := a.RemoveHost(t.Context(), b.Self().ID); !errors.Is(err, cluster.ErrHostAlive) {
			t.Errorf("RemoveHost of a host that lives: %v", err)
		}
		b.stop()
		revoke(t, shared, b.Self().ID)
		quiet(30 * time.Second)
		if p, ok := a.View().Host(b.Self().ID); !ok || !p.Suspect || p.LastSeen.IsZero() {
			t.Errorf("b is %+v, want suspect", p)
		}
		a.wantEndpoints(n.ID, 22)
		if err := a.RemoveHost(t.Context(), b.Self().ID); err != nil {
			t.Fatal(err)
		}
		quiet(time.Second)
		a.wantEndpoints(n.ID)
		if _, ok := a.View().Host(b.Self().ID); ok {
			t.Error("b is still there")
		}
		b.start()
		defer b.stop()
		quiet(5 * time.Second)
		a.wantEndpoints(n.ID, 22)
		if p, ok := a.View().Host(b.Self().ID); !ok || p.Suspect {
			t.Errorf("b is %+v (%t), want it back", p, ok)
		}
	})
}

// revoke ends the lease that holds a host's key of life.
func revoke(t *testing.T, shared cluster.Store, id cluster.HostID) {
	t.Helper()
	pair, err := shared.Get(t.Context(), store.AliveKey(string(id)))
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.Revoke(t.Context(), pair.Lease); err != nil {
		t.Fatal(err)
	}
}
