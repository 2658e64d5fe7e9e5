package driver_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
)

// crashing is a kernel that shows what a process that dies right after Join made
// the interface leaves behind.
type crashing struct {
	*kernel

	died func()
}

func (c *crashing) Join(ctx context.Context, n driver.Network, ep driver.Endpoint) (driver.Attachment, error) {
	att, err := c.kernel.Join(ctx, n, ep)
	c.died()
	return att, err
}

func TestJoin_interfaceOfAProcessThatDiedIsRemovedWithItsEndpoint(t *testing.T) {
	t.Parallel()
	kv, k := memstore.New(), newKernel()
	c := &crashing{kernel: k}
	r := openRegistryOn(t, kv, c)
	n, ep := testNetwork(1), testEndpoint(1, 1)
	must(t, r.CreateNetwork(t.Context(), n))
	_, err := r.CreateEndpoint(t.Context(), ep)
	must(t, err)
	c.died = func() {
		next := openRegistryOn(t, kv, k)
		must(t, next.DeleteEndpoint(t.Context(), n.ID, ep.ID))
		must(t, next.DeleteNetwork(t.Context(), n.ID))
	}
	_, err = r.Join(t.Context(), n.ID, ep.ID, "/var/run/docker/netns/x")
	must(t, err)
	if !k.empty() {
		t.Error("the interface is left")
	}
}

func openRegistryOn(t *testing.T, kv store.KV, d driver.Driver) *driver.Registry {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	r, err := driver.Open(t.Context(), kv, map[driver.Type]driver.Driver{driver.TypeBridge: d}, log)
	must(t, err)
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// watching remembers the last Reconcile.
type watching struct {
	*kernel

	want       []driver.Attached
	unreadable []driver.NetworkID
}

func (w *watching) Reconcile(_ context.Context, want []driver.Attached, unreadable []driver.NetworkID) ([]string, error) {
	w.want, w.unreadable = want, unreadable
	return nil, nil
}

func TestReconcile_tellsOfRecordsThatANewerVersionWrote(t *testing.T) {
	t.Parallel()
	kv := memstore.New()
	r := openRegistryOn(t, kv, newKernel())
	must(t, r.CreateNetwork(t.Context(), testNetwork(1)))
	_, err := r.CreateEndpoint(t.Context(), testEndpoint(1, 1))
	must(t, err)
	newer := []byte(`{"Version":2,"Something":"else"}`)
	_, err = kv.Apply(t.Context(),
		store.Set(store.LocalNetworkKey(string(networkID(2))), newer),
		store.Set(store.LocalEndpointKey(string(networkID(2)), string(endpointID(3))), newer),
		store.Set(store.LocalEndpointKey(string(networkID(1)), string(endpointID(2))), newer))
	must(t, err)
	w := &watching{kernel: newKernel()}
	_, err = openRegistryOn(t, kv, w).Reconcile(t.Context())
	must(t, err)
	if !slices.Equal(w.unreadable, []driver.NetworkID{networkID(2)}) {
		t.Errorf("unreadable networks = %v, want the second", w.unreadable)
	}
	if len(w.want) != 1 || len(w.want[0].Endpoints) != 1 || !slices.Equal(w.want[0].Unreadable, []driver.EndpointID{endpointID(2)}) {
		t.Errorf("wanted = %+v, want the first network with one endpoint, and the second endpoint unreadable", w.want)
	}
}

func TestJoin_thatFailsLeavesTheEndpointWithoutASandbox(t *testing.T) {
	t.Parallel()
	k := newKernel()
	r := openRegistry(t, memstore.New(), k)
	n, ep := testNetwork(1), testEndpoint(1, 1)
	must(t, r.CreateNetwork(t.Context(), n))
	_, err := r.CreateEndpoint(t.Context(), ep)
	must(t, err)
	k.fail["Join"] = errors.New("no room")
	if _, err := r.Join(t.Context(), n.ID, ep.ID, "/key"); !errors.Is(err, k.fail["Join"]) {
		t.Fatalf("Join = %v, want the kernel's error", err)
	}
	if have, _ := r.Endpoint(n.ID, ep.ID); have.SandboxKey != "" {
		t.Errorf("the record says it is in %s", have.SandboxKey)
	}
	delete(k.fail, "Join")
	_, err = r.Join(t.Context(), n.ID, ep.ID, "/key")
	must(t, err)
	k.fail["Join"] = errors.New("no room")
	if _, err := r.Join(t.Context(), n.ID, ep.ID, "/key"); err == nil {
		t.Fatal("Join again = nil, want the kernel's error")
	}
	if have, _ := r.Endpoint(n.ID, ep.ID); have.SandboxKey != "/key" || !k.ifs[ep.ID] {
		t.Error("a Join that was repeated and failed took the interface of a running container")
	}
}
