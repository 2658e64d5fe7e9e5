package ipam_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
	"github.com/ournet/ournet/ipam"
)

// patience bounds what goes on in the background; reaching it is a failure.
const patience = 20 * time.Second

// land is a cluster: hosts that share a store.
type land struct {
	t      *testing.T
	kv     *kv // the cluster store
	worlds map[string]*world
	dead   map[string]bool
	// seen has the addresses that containers are seen to have, by their hosts.
	seen map[netip.Addr]string
}

func newLand(t *testing.T, hosts ...string) *land {
	t.Helper()
	l := &land{t: t, kv: &kv{KV: memstore.New()}, worlds: make(map[string]*world), dead: make(map[string]bool), seen: make(map[netip.Addr]string)}
	for _, host := range hosts {
		l.host(host)
	}
	return l
}

// host adds a host; nothing runs on it in the background.
func (l *land) host(name string) *world {
	l.t.Helper()
	w := newWorldWith(l.t, func(w *world) {
		w.cluster = &ipam.ClusterStore{
			KV: l.kv, Host: name, Alive: func(host string) bool { return !l.dead[host] },
			InUse: func(netip.Prefix) map[string][]netip.Addr {
				others := make(map[string][]netip.Addr)
				for a, host := range l.seen {
					if host != name {
						others[host] = append(others[host], a)
					}
				}
				return others
			},
		}
	})
	l.worlds[name] = w
	return w
}

// run does a host's background work until the test ends, or what it returns is called.
func (l *land) run(host string) (stop func()) {
	l.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	m := l.worlds[host].Manager
	go func() { done <- m.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("Run of %s: %v", host, err)
		}
	}
	l.t.Cleanup(stop)
	return stop
}

// network has each host make a network of the same subnet, as the engine would.
func (l *land) network(subnet, rng string) ipam.PoolID {
	l.t.Helper()
	var id ipam.PoolID
	for _, name := range l.hosts() {
		w := l.worlds[name]
		req := poolRequest(subnet, rng)
		req.Space = ipam.SpaceCluster
		var err error
		if id, _, err = w.RequestPool(l.t.Context(), req); err != nil {
			l.t.Fatalf("%s: %v", name, err)
		}
		w.lease(gateway(id, ""))
		if err := w.BindPool(id, "network-on-"+name); err != nil {
			l.t.Fatal(err)
		}
	}
	return id
}

func (l *land) hosts() []string {
	var names []string
	for name := range l.worlds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// keys are the cluster's keys.
func (l *land) keys() []string {
	l.t.Helper()
	pairs, _, err := l.kv.List(l.t.Context(), "v1/", 0)
	if err != nil {
		l.t.Fatal(err)
	}
	var keys []string
	for _, p := range pairs {
		keys = append(keys, p.Key)
	}
	return keys
}

// await waits for something that goes on in the background.
func (l *land) await(what string, is func() bool) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	for i := 0; !is(); i++ {
		if !store.Pause(ctx, 1) {
			l.t.Fatalf("%s did not come; the cluster has %q", what, l.keys())
		}
	}
}

func shared(subnet, rng string) ipam.PoolRequest {
	req := poolRequest(subnet, rng)
	req.Space = ipam.SpaceCluster
	return req
}

func TestCluster_noAddressTwice(t *testing.T) {
	t.Parallel()
	for _, subnet := range []string{"10.1.0.0/16", "10.1.0.0/23", "10.1.0.0/26", "fd00:1::/64", "fd00:1::/120"} {
		l := newLand(t, "a", "b", "c")
		id := l.network(subnet, "")
		seen := make(map[netip.Addr]string)
		for i := range 15 {
			for _, host := range l.hosts() {
				a := l.worlds[host].lease(any4(id))
				if other, twice := seen[a]; twice {
					t.Fatalf("%s: %s has %s, which %s has", subnet, host, a, other)
				}
				seen[a] = host
				l.worlds[host].bind(id, a, fmt.Sprintf("endpoint-%d", i))
			}
		}
	}
}

func TestCluster_smallPoolIsForAllHosts(t *testing.T) {
	t.Parallel()
	l := newLand(t, "a", "b", "c")
	id := l.network("10.1.0.0/28", "")
	for _, host := range l.hosts() {
		l.run(host)
	}
	// 13 beside the gateway: as many are had, wherever they are asked for.
	for i := range 13 {
		host := []string{"a", "a", "a", "a", "a", "a", "a", "b", "b", "b", "c", "c", "c"}[i]
		a := l.worlds[host].lease(any4(id))
		l.worlds[host].bind(id, a, fmt.Sprintf("endpoint-%d", i))
	}
	_, err := l.worlds["b"].RequestAddress(t.Context(), any4(id))
	wantError(t, err, ipam.ErrExhausted, "network-on-b", "--subnet")
}

func TestCluster_attachesWithoutTheStore(t *testing.T) {
	t.Parallel()
	l := newLand(t, "a", "b")
	id := l.network("10.1.0.0/24", "")
	a := l.worlds["a"]
	a.lease(any4(id))
	l.kv.setFail("away")
	n := 0
	for {
		_, err := a.RequestAddress(t.Context(), any4(id))
		if err != nil {
			wantError(t, err, ipam.ErrAway, "cluster store", "reserve")
			break
		}
		n++
	}
	if n < 20 {
		t.Errorf("%d addresses were in reserve", n)
	}
	if _, err := l.worlds["b"].RequestAddress(t.Context(), any4(id)); err == nil {
		t.Error("an address without a reserve and without the store")
	}
	l.kv.setFail("")
	a.lease(any4(id))
}

func TestCluster_poolsAreUnique(t *testing.T) {
	t.Parallel()
	l := newLand(t, "a", "b")
	a, b := l.worlds["a"], l.worlds["b"]
	ctx := t.Context()
	if got := a.AddressSpaces(); got != ipam.SpaceCluster {
		t.Errorf("AddressSpaces = %q", got)
	}
	first, subnet, err := a.RequestPool(ctx, shared("", ""))
	if err != nil {
		t.Fatal(err)
	}
	second, other, err := b.RequestPool(ctx, shared("", ""))
	if err != nil || first == second || subnet.Overlaps(other) {
		t.Errorf("RequestPool = %s, then %s, %v", first, second, err)
	}
	if _, _, err := b.RequestPool(ctx, shared(subnet.String(), "")); err != nil {
		t.Errorf("the pool of another host: %v", err)
	}
	if _, _, err := a.RequestPool(ctx, shared("10.7.0.0/16", "10.7.1.0/24")); err != nil {
		t.Fatal(err)
	}
	_, _, err = b.RequestPool(ctx, shared("10.7.0.0/16", ""))
	wantError(t, err, ipam.ErrContradiction, "10.7.0.0/16", "--ip-range 10.7.1.0/24")
	_, _, err = b.RequestPool(ctx, shared("10.7.2.0/24", ""))
	wantError(t, err, ipam.ErrOverlap, "10.7.2.0/24", "10.7.0.0/16", "host a", "--subnet")
	host := poolRequest("10.7.1.0/24", "")
	_, _, err = a.RequestPool(ctx, host)
	wantError(t, err, ipam.ErrOverlap, "10.7.1.0/24", "10.7.0.0/16")
}

func TestCluster_poolGoesWithItsLastHost(t *testing.T) {
	t.Parallel()
	l := newLand(t, "a", "b")
	id := l.network("10.1.0.0/24", "")
	for host, w := range l.worlds {
		w.lease(any4(id))
		l.run(host)
	}
	l.kv.setFail("away")
	for host, w := range l.worlds { // works without the store
		w.releasePool(id)
		w.unbindPool(id, "network-on-"+host)
	}
	l.kv.setFail("")
	l.await("the end of the pool", func() bool { return len(l.keys()) == 1 })
	if got := l.keys(); !slices.Equal(got, []string{store.PoolFenceKey()}) {
		t.Errorf("keys %q are left", got)
	}
	for _, w := range l.worlds {
		l.await("the end of the list", func() bool {
			pairs, _, err := w.kv.List(t.Context(), store.LocalLeavingPrefix(), 0)
			return err == nil && len(pairs) == 0
		})
	}
}

func TestCluster_staticAddressesAnywhere(t *testing.T) {
	t.Parallel()
	l := newLand(t, "a", "b")
	id := l.network("10.1.0.0/24", "")
	a, b := l.worlds["a"], l.worlds["b"]
	used := a.lease(any4(id))
	a.bind(id, used, "endpoint-a")
	b.wantLease(static(id, "10.1.0.200", ""), "10.1.0.200") // nobody's
	a.wantLease(static(id, "10.1.0.20", ""), "10.1.0.20")   // its own
	spare := used.Next().Next()

	// Of another host's reserve, which does not answer.
	_, err := b.RequestAddress(t.Context(), static(id, spare.String(), ""))
	wantError(t, err, ipam.ErrInUse, spare.String(), "host a", "docker ournet host rm a")
	l.dead["a"] = true
	_, err = b.RequestAddress(t.Context(), static(id, spare.String(), ""))
	wantError(t, err, ipam.ErrInUse, spare.String(), "docker ournet host rm a")
	l.dead["a"] = false
	l.run("a")
	b.wantLease(static(id, spare.String(), ""), spare.String())
	_, err = b.RequestAddress(t.Context(), static(id, used.String(), ""))
	wantError(t, err, ipam.ErrInUse, used.String(), "endpoint-a", "host a")
	for range 30 {
		if got := a.lease(any4(id)); got == spare {
			t.Errorf("%s was given away and is given out", got)
		}
	}
	for _, key := range l.keys() {
		if strings.HasPrefix(key, "v1/claims/") {
			t.Errorf("%s is left", key)
		}
	}
}

func TestCluster_gatewayAndAuxiliaryAddressesAreAllHosts(t *testing.T) {
	t.Parallel()
	l := newLand(t, "a", "b", "c")
	a, b, c := l.worlds["a"], l.worlds["b"], l.worlds["c"]
	var id ipam.PoolID
	for _, w := range []*world{a, b, c} {
		var err error
		if id, _, err = w.RequestPool(t.Context(), shared("10.1.0.0/24", "10.1.0.128/25")); err != nil {
			t.Fatal(err)
		}
		if w == c {
			break
		}
		w.wantLease(gateway(id, "10.1.0.9"), "10.1.0.9")
		w.wantLease(static(id, "10.1.0.129", ""), "10.1.0.129") // not bound yet: auxiliary
		w.wantLease(static(id, "10.1.0.5", ""), "10.1.0.5")
		if err := w.BindPool(id, "network"); err != nil {
			t.Fatal(err)
		}
	}
	c.wantRefused(gateway(id, "10.1.0.1"), ipam.ErrContradiction, "10.1.0.1", "10.1.0.9", "--gateway 10.1.0.9")
	c.wantLease(gateway(id, ""), "10.1.0.9")
	for _, w := range []*world{a, b} {
		w.wantRefused(static(id, "10.1.0.9", "web"), ipam.ErrInUse, "gateway")
		w.wantRefused(static(id, "10.1.0.129", "web"), ipam.ErrInUse, "auxiliary")
		for range 5 {
			if got := w.lease(any4(id)); got == netip.MustParseAddr("10.1.0.129") || got.Less(netip.MustParseAddr("10.1.0.128")) {
				t.Errorf("%s is given out", got)
			}
		}
	}
}

func TestRequestPool_scope(t *testing.T) {
	t.Parallel()
	l := newLand(t, "a")
	w := l.worlds["a"]
	req := shared("10.3.0.0/24", "")
	req.Options = map[string]string{"scope": "host"}
	id, _, err := w.RequestPool(t.Context(), req)
	if err != nil || id != "ournet-host/10.3.0.0/24" || len(l.keys()) > 0 {
		t.Errorf("RequestPool = %s, %v; the cluster has %q", id, err, l.keys())
	}
	if err := w.BindPool("ournet-cluster/10.3.0.0/24", "network"); err != nil {
		t.Errorf("by the space that was asked in: %v", err)
	}
	req.Options = map[string]string{"scop": "host"}
	_, _, err = w.RequestPool(t.Context(), req)
	wantError(t, err, ipam.ErrRequest, "scop", "scope=host")
	req.Options = map[string]string{"scope": "world"}
	_, _, err = w.RequestPool(t.Context(), req)
	wantError(t, err, ipam.ErrRequest, "world", "host", "cluster")
}

// Who has set something wrong is told what, and not to look after a Consul that was
// never asked.
func TestRequestPool_saysWhatIsSetWrong(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(w *world) {
		w.cluster = &ipam.ClusterStore{KV: unsetKV{}, Host: "h1", Alive: func(string) bool { return true }}
	})
	req := poolRequest("10.1.0.0/24", "")
	req.Space = ipam.SpaceCluster
	_, _, err := w.RequestPool(t.Context(), req)
	wantError(t, err, ipam.ErrAway, "needs the cluster", "VXLAN_PORT")
	if err != nil && strings.Contains(err.Error(), "Consul") {
		t.Errorf("error %q speaks of Consul", err)
	}
}

// unsetKV is a cluster store that is not asked.
type unsetKV struct{ store.KV }

func (unsetKV) Get(context.Context, string) (store.Pair, error) {
	return store.Pair{}, fmt.Errorf("VXLAN_PORT=many: want a number%w", wordless{store.ErrSetup})
}

func (k unsetKV) List(ctx context.Context, _ string, _ store.Index) ([]store.Pair, store.Index, error) {
	_, err := k.Get(ctx, "")
	return nil, 0, err
}

func (k unsetKV) Apply(ctx context.Context, _ ...store.Op) (store.Index, error) {
	_, err := k.Get(ctx, "")
	return 0, err
}

// wordless is an error without its text.
type wordless struct{ error }

func (wordless) Error() string { return "" }

func (e wordless) Unwrap() error { return e.error }
