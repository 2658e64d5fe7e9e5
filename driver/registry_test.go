package driver_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
)

// kernel is a driver that remembers what it was told, and fails on demand.
type kernel struct {
	mu    sync.Mutex // guards the rest
	nets  map[driver.NetworkID]bool
	ifs   map[driver.EndpointID]bool
	ports map[driver.EndpointID]int
	fail  map[string]error
	// former is what the last Publish was told.
	former driver.Former
}

func newKernel() *kernel {
	return &kernel{
		nets:  map[driver.NetworkID]bool{},
		ifs:   map[driver.EndpointID]bool{},
		ports: map[driver.EndpointID]int{},
		fail:  map[string]error{},
	}
}

func (k *kernel) do(verb string, f func()) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.fail[verb]; err != nil {
		return err
	}
	f()
	return nil
}

func (k *kernel) Check(n driver.Network, have []driver.Network) error {
	for _, other := range have {
		if other.Subnets[0].Pool.Overlaps(n.Subnets[0].Pool) {
			return driver.ErrOverlap
		}
	}
	return nil
}

func (k *kernel) EnsureNetwork(_ context.Context, n driver.Network) error {
	return k.do("EnsureNetwork", func() { k.nets[n.ID] = true })
}

func (k *kernel) RemoveNetwork(_ context.Context, n driver.Network) error {
	return k.do("RemoveNetwork", func() { delete(k.nets, n.ID) })
}

func (k *kernel) Join(_ context.Context, _ driver.Network, ep driver.Endpoint) (driver.Attachment, error) {
	err := k.do("Join", func() { k.ifs[ep.ID] = true })
	return driver.Attachment{SrcName: "p" + ep.ID.Short(), DstPrefix: "eth"}, err
}

func (k *kernel) Leave(_ context.Context, _ driver.Network, ep driver.Endpoint) error {
	return k.do("Leave", func() { delete(k.ifs, ep.ID) })
}

func (k *kernel) Publish(_ context.Context, _ driver.Network, ep driver.Endpoint, former driver.Former) ([]driver.Binding, error) {
	err := k.do("Publish", func() { k.ports[ep.ID], k.former = len(ep.Bindings), former })
	return ep.Bindings, err
}

func (k *kernel) Unpublish(_ context.Context, _ driver.Network, ep driver.Endpoint) error {
	return k.do("Unpublish", func() { delete(k.ports, ep.ID) })
}

func (k *kernel) Reconcile(_ context.Context, want []driver.Attached, _ []driver.NetworkID) ([]string, error) {
	err := k.do("Reconcile", func() {
		k.nets = map[driver.NetworkID]bool{}
		for _, a := range want {
			k.nets[a.Network.ID] = true
		}
	})
	return nil, err
}

// empty reports whether nothing is left in the kernel.
func (k *kernel) empty() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.nets)+len(k.ifs)+len(k.ports) == 0
}

// brokenKV fails every write while broken is set.
type brokenKV struct {
	store.KV
	broken error
}

func (b *brokenKV) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	if b.broken != nil {
		return 0, b.broken
	}
	return b.KV.Apply(ctx, ops...)
}

func openRegistry(t *testing.T, kv store.KV, k *kernel) *driver.Registry {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	r, err := driver.Open(t.Context(), kv, map[driver.Type]driver.Driver{driver.TypeBridge: k}, log)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func networkID(i int) driver.NetworkID   { return driver.NetworkID(fmt.Sprintf("%064x", i)) }
func endpointID(i int) driver.EndpointID { return driver.EndpointID(fmt.Sprintf("%064x", 1<<32+i)) }

func testNetwork(i int) driver.Network {
	pool := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 24)
	return driver.Network{
		ID:      networkID(i),
		Options: driver.DefaultOptions(),
		Subnets: []driver.Subnet{{Space: "s", Pool: pool, Gateway: netip.PrefixFrom(pool.Addr().Next(), 24)}},
	}
}

func testEndpoint(network, i int) driver.Endpoint {
	addr := netip.AddrFrom4([4]byte{10, byte(network), 0, byte(i + 2)})
	return driver.Endpoint{ID: endpointID(i), Network: networkID(network), Address: netip.PrefixFrom(addr, 24)}
}

func records(t *testing.T, kv store.KV) []string {
	t.Helper()
	pairs, _, err := kv.List(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, p := range pairs {
		keys = append(keys, p.Key)
	}
	return keys
}

func TestRegistry_everyVerbTwiceIsTheSameAsOnce(t *testing.T) {
	t.Parallel()
	k, kv := newKernel(), memstore.New()
	r := openRegistry(t, kv, k)
	ctx := t.Context()
	n, ep := testNetwork(1), testEndpoint(1, 1)
	bindings := []driver.Binding{{Protocol: driver.TCP, Port: 80, HostPort: 8080, HostPortEnd: 8080}}
	for _, step := range []struct {
		name string
		do   func() (any, error)
	}{
		{"CreateNetwork", func() (any, error) { return nil, r.CreateNetwork(ctx, n) }},
		{"CreateEndpoint", func() (any, error) { return r.CreateEndpoint(ctx, ep) }},
		{"Join", func() (any, error) { return r.Join(ctx, n.ID, ep.ID, "/var/run/docker/netns/1") }},
		{"Publish", func() (any, error) { return nil, r.Publish(ctx, n.ID, ep.ID, bindings) }},
		{"CreateEndpoint after Publish", func() (any, error) { return r.CreateEndpoint(ctx, ep) }},
		{"Unpublish", func() (any, error) { return nil, r.Unpublish(ctx, n.ID, ep.ID) }},
		{"Leave", func() (any, error) { return nil, r.Leave(ctx, n.ID, ep.ID) }},
		{"DeleteEndpoint", func() (any, error) { return nil, r.DeleteEndpoint(ctx, n.ID, ep.ID) }},
		{"DeleteNetwork", func() (any, error) { return nil, r.DeleteNetwork(ctx, n.ID) }},
	} {
		first, err := step.do()
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		before := records(t, kv)
		again, err := step.do()
		if err != nil {
			t.Fatalf("%s again: %v", step.name, err)
		}
		if diff := cmp.Diff(first, again, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Errorf("%s again answers otherwise (-first +again):\n%s", step.name, diff)
		}
		if after := records(t, kv); !slices.Equal(before, after) {
			t.Errorf("%s again changed the records from %v to %v", step.name, before, after)
		}
	}
	if left := records(t, kv); len(left) > 0 || !k.empty() {
		t.Errorf("left over: records %v, kernel empty %v", left, k.empty())
	}
}

func TestRegistry_openBringsTheRecordsBack(t *testing.T) {
	t.Parallel()
	kv := memstore.New()
	r := openRegistry(t, kv, newKernel())
	n, ep := testNetwork(1), testEndpoint(1, 1)
	if err := r.CreateNetwork(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if _, err := r.CreateEndpoint(t.Context(), ep); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Join(t.Context(), n.ID, ep.ID, "/key"); err != nil {
		t.Fatal(err)
	}
	k := newKernel()
	again := openRegistry(t, kv, k)
	if diff := cmp.Diff(r.All(), again.All(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("records after Open (-before +after):\n%s", diff)
	}
	if _, err := again.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !k.nets[n.ID] {
		t.Error("Reconcile after Open did not bring the network back")
	}
}

func TestRegistry_failedVerbLeavesNothing(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for _, verb := range []string{"EnsureNetwork", "store"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			k, kv := newKernel(), &brokenKV{KV: memstore.New()}
			r := openRegistry(t, kv, k)
			k.fail[verb] = boom
			if verb == "store" {
				kv.broken = boom
			}
			if err := r.CreateNetwork(t.Context(), testNetwork(1)); !errors.Is(err, boom) {
				t.Fatalf("CreateNetwork = %v, want boom", err)
			}
			if left := records(t, kv); len(left) > 0 || !k.empty() || len(r.All()) > 0 {
				t.Fatalf("left over: records %v, kernel empty %v, networks %v", left, k.empty(), r.All())
			}
			delete(k.fail, verb)
			kv.broken = nil
			if err := r.CreateNetwork(t.Context(), testNetwork(1)); err != nil {
				t.Errorf("CreateNetwork once it can work: %v", err)
			}
		})
	}
}

func TestJoin_takenBackWhenTheRecordCannotBeWritten(t *testing.T) {
	t.Parallel()
	k, kv := newKernel(), &brokenKV{KV: memstore.New()}
	r := openRegistry(t, kv, k)
	n, ep := testNetwork(1), testEndpoint(1, 1)
	if err := r.CreateNetwork(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if _, err := r.CreateEndpoint(t.Context(), ep); err != nil {
		t.Fatal(err)
	}
	kv.broken = errors.New("disk full")
	if _, err := r.Join(t.Context(), n.ID, ep.ID, "/key"); !errors.Is(err, kv.broken) {
		t.Fatalf("Join = %v, want the store's error", err)
	}
	if k.ifs[ep.ID] {
		t.Error("the interface is left over")
	}
	bindings := []driver.Binding{{Protocol: driver.TCP, Port: 80}}
	if err := r.Publish(t.Context(), n.ID, ep.ID, bindings); !errors.Is(err, kv.broken) {
		t.Fatalf("Publish = %v, want the store's error", err)
	}
	if len(k.ports) > 0 {
		t.Error("ports are left over")
	}
}

func TestDeleteNetwork_forgetsEvenIfTheKernelRefuses(t *testing.T) {
	t.Parallel()
	k, kv := newKernel(), memstore.New()
	r := openRegistry(t, kv, k)
	n, ep := testNetwork(1), testEndpoint(1, 1)
	if err := r.CreateNetwork(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if _, err := r.CreateEndpoint(t.Context(), ep); err != nil {
		t.Fatal(err)
	}
	k.fail["RemoveNetwork"] = errors.New("busy")
	if err := r.DeleteNetwork(t.Context(), n.ID); err != nil {
		t.Fatalf("DeleteNetwork = %v, want nil: the engine forgets anyway", err)
	}
	if left := records(t, kv); len(left) > 0 {
		t.Errorf("records left: %v", left)
	}
}

func TestCreateNetwork_ofManyThatOverlapOnlyOneGetsIn(t *testing.T) {
	t.Parallel()
	r := openRegistry(t, memstore.New(), newKernel())
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex // guards won
		won int
	)
	for i := range 20 {
		wg.Go(func() {
			n := testNetwork(1)
			n.ID = networkID(100 + i)
			err := r.CreateNetwork(t.Context(), n)
			if err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			} else if !errors.Is(err, driver.ErrOverlap) {
				t.Errorf("CreateNetwork = %v, want ErrOverlap", err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d overlapping networks got in, want 1", won)
	}
}

func TestRegistry_verbsOnUnknownIDs(t *testing.T) {
	t.Parallel()
	r := openRegistry(t, memstore.New(), newKernel())
	ctx := t.Context()
	for name, err := range map[string]error{
		"DeleteNetwork":  r.DeleteNetwork(ctx, networkID(1)),
		"DeleteEndpoint": r.DeleteEndpoint(ctx, networkID(1), endpointID(1)),
		"Leave":          r.Leave(ctx, networkID(1), endpointID(1)),
		"Unpublish":      r.Unpublish(ctx, networkID(1), endpointID(1)),
	} {
		if err != nil {
			t.Errorf("%s of an unknown id = %v, want success", name, err)
		}
	}
	if _, err := r.CreateEndpoint(ctx, testEndpoint(1, 1)); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("CreateEndpoint on an unknown network = %v, want ErrNotFound", err)
	}
	if _, err := r.Join(ctx, networkID(1), endpointID(1), "/key"); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("Join of an unknown endpoint = %v, want ErrNotFound", err)
	}
}

func TestOpen_skipsRecordsItCannotRead(t *testing.T) {
	t.Parallel()
	kv := memstore.New()
	r := openRegistry(t, kv, newKernel())
	if err := r.CreateNetwork(t.Context(), testNetwork(1)); err != nil {
		t.Fatal(err)
	}
	for i, value := range []string{
		`{"Version":2,"Network":{"Shape":"of things to come"}}`,
		`{"Version":1,"Network":{"ID":"../../etc"}}`,
		`{"Version":1,"Network":{"ID":"` + strings.Repeat("a", 64) + `","Colour":"red"}}`,
		`{"Version":0}`,
		`not JSON`,
	} {
		if _, err := kv.Apply(t.Context(), store.Set(store.LocalNetworkKey(fmt.Sprint("bad", i)), []byte(value))); err != nil {
			t.Fatal(err)
		}
	}
	if got := openRegistry(t, kv, newKernel()).All(); len(got) != 1 || got[0].Network.ID != networkID(1) {
		t.Errorf("All = %v, want the one good record", got)
	}
}
