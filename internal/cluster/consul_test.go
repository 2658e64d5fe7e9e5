package cluster_test

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/internal/consultest"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/consul"
)

// patience bounds what a test waits for; reaching it is a failure.
const patience = 60 * time.Second

func openConsul(t *testing.T, c *consultest.Cluster, prefix string) *consul.Store {
	t.Helper()
	cfg := consul.Defaults()
	cfg.Addresses, cfg.Prefix = c.Addresses(), prefix
	s, err := consul.New(discard(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

// closeStore ends the renewing of leases, as the end of a process does.
func closeStore(t *testing.T, s *consul.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// until waits until the host's view is as wanted.
func (h *host) until(what string, wanted func(v *cluster.View) bool) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	changes := h.Changes()
	defer changes.Close()
	for {
		if _, err := changes.Wait(ctx); err != nil {
			h.t.Fatalf("host %d: not so in time: %s; sees hosts %+v", h.n, what, h.View().Hosts())
		}
		if wanted(h.View()) {
			return
		}
	}
}

// joinInTime is [host.join] where the servers may be about to elect a leader, as they do
// when one of them waits for its turn for long.
func (h *host) joinInTime(s cluster.NetworkSpec) cluster.Network {
	h.t.Helper()
	for begin := time.Now(); ; <-time.After(100 * time.Millisecond) {
		n, err := h.JoinNetwork(h.t.Context(), s)
		if err == nil {
			return n
		}
		away := errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUncertain)
		if !away || time.Since(begin) > patience {
			h.t.Fatalf("host %d: join: %v", h.n, err)
		}
	}
}

func sees(network cluster.NetworkID, want ...int) func(v *cluster.View) bool {
	return func(v *cluster.View) bool {
		var have []string
		for _, e := range v.Endpoints(network) {
			have = append(have, string(e.ID))
		}
		wanted := make([]string, 0, len(want))
		for _, n := range want {
			wanted = append(wanted, id(n))
		}
		slices.Sort(wanted)
		slices.Sort(have)
		return slices.Equal(have, wanted)
	}
}

func TestCluster_overConsul(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 1, consultest.Options{})
	prefix := "ournet/" + rand.Text()
	a := newHost(t, 1, openConsul(t, c, prefix))
	first := openConsul(t, c, prefix)
	b := newHost(t, 2, first)
	// The test server takes leases that are shorter than those of a usual one.
	a.opts.TTL, b.opts.TTL = 2*time.Second, 2*time.Second
	a.start()
	b.start()
	defer a.stop()
	n := a.join(spec(1, "10.1.0.0/24"))
	a.announce(endpoint(n.ID, 11))
	b.until("the network is there", func(v *cluster.View) bool { return len(v.Networks()) == 1 })
	b.join(spec(2, "10.1.0.0/24"))
	b.announce(endpoint(n.ID, 22))
	a.until("both endpoints", sees(n.ID, 11, 22))
	b.until("both endpoints", sees(n.ID, 11, 22))
	b.stop()
	closeStore(t, first)
	a.until("b is suspect", func(v *cluster.View) bool { p, ok := v.Host(b.Self().ID); return ok && p.Suspect })
	b.shared = openConsul(t, c, prefix)
	b.start()
	defer b.stop()
	a.until("b is back", func(v *cluster.View) bool { p, ok := v.Host(b.Self().ID); return ok && !p.Suspect })
	if err := b.Withdraw(t.Context(), n.ID, cluster.EndpointID(id(22))); err != nil {
		t.Fatal(err)
	}
	a.until("one endpoint", sees(n.ID, 11))
}

// What hosts say while the leader of the cluster store dies, and before and after, all
// know in the end.
func TestCluster_overConsulWhoseLeaderDies(t *testing.T) {
	t.Parallel()
	servers := consultest.Start(t, 3, consultest.Options{})
	prefix := "ournet/" + rand.Text()
	var (
		hosts []*host
		n     cluster.Network
		want  []int
	)
	for i := range 3 {
		cfg := consul.Defaults()
		cfg.Addresses, cfg.Prefix = servers.Addresses(), prefix
		cfg.Attempt, cfg.Pulse = time.Second, 300*time.Millisecond // a dead server is noticed soon
		s, err := consul.New(discard(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closeStore(t, s) })
		h := newHost(t, i+1, s)
		h.start()
		defer h.stop()
		n = h.joinInTime(spec(i+1, "10.1.0.0/24"))
		hosts = append(hosts, h)
	}
	announce := func(round int) {
		for _, h := range hosts {
			number := 100*round + h.n
			h.announce(endpoint(n.ID, number))
			want = append(want, number)
		}
	}
	announce(1)
	hosts[2].until("what was said before", sees(n.ID, want...))
	servers.Leader(t).Kill(t)
	announce(2)
	if err := hosts[0].Withdraw(t.Context(), n.ID, cluster.EndpointID(id(101))); err != nil {
		t.Fatal(err)
	}
	want = slices.DeleteFunc(want, func(number int) bool { return number == 101 })
	for _, h := range hosts {
		h.until("what was said meanwhile", sees(n.ID, want...))
	}
	announce(3)
	for _, h := range hosts {
		h.until("what was said after", sees(n.ID, want...))
		if members := h.View().Members(n.ID); len(members) != len(hosts) {
			t.Errorf("host %d sees members %v", h.n, members)
		}
	}
}
