package ipam_test

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
	"github.com/ournet/ournet/ipam"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDisk = errors.New("the disk is gone")

// kv is a store of which writes can be made to fail or to wait.
type kv struct {
	store.KV

	mu sync.Mutex // guards all below
	// fail says how the next writes end: "" well, "before" without a trace,
	// "after" as an error although they were done, "away" as everything else does too.
	fail string
	// failOnce ends that with the next write.
	failOnce bool
	// entered and leave, if set, stop each write until something comes from leave.
	entered, leave chan struct{}
	// writes counts the transactions, ops the keys in them.
	writes, ops int
}

func (f *kv) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	f.mu.Lock()
	entered, leave := f.entered, f.leave
	f.writes++
	f.ops += len(ops)
	f.mu.Unlock()
	if entered != nil {
		entered <- struct{}{}
		<-leave
	}
	f.mu.Lock()
	fail := f.fail
	if f.failOnce {
		f.fail, f.failOnce = "", false
	}
	f.mu.Unlock()
	if fail == "before" || fail == "away" {
		return 0, errDisk
	}
	index, err := f.KV.Apply(ctx, ops...)
	if fail == "after" {
		return 0, errDisk
	}
	return index, err
}

// Get implements [store.KV].
func (f *kv) Get(ctx context.Context, key string) (store.Pair, error) {
	if f.away() {
		return store.Pair{}, errDisk
	}
	return f.KV.Get(ctx, key)
}

// List implements [store.KV].
func (f *kv) List(ctx context.Context, prefix string, after store.Index) ([]store.Pair, store.Index, error) {
	if f.away() {
		return nil, 0, errDisk
	}
	return f.KV.List(ctx, prefix, after)
}

func (f *kv) away() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail == "away"
}

func (f *kv) setFail(how string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = how
}

// stop makes every write from now on wait for a value from leave, and tell so on
// entered.
func (f *kv) stop() (entered <-chan struct{}, leave chan<- struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entered, f.leave = make(chan struct{}), make(chan struct{})
	return f.entered, f.leave
}

func (f *kv) run() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entered, f.leave = nil, nil
}

func (f *kv) counts() (writes, ops int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes, f.ops
}

// clock is a clock that only the test moves.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is a manager with all that it stands on.
type world struct {
	*ipam.Manager

	t      *testing.T
	kv     *kv
	clock  *clock
	routes []netip.Prefix
	blocks []ipam.Block
	log    *logrus.Logger
	logged *logtest.Hook
	// cluster is the manager's; nil for none.
	cluster *ipam.ClusterStore
	// store is what the manager has for kv, if not that.
	store store.KV
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, func(*world) {})
}

func newWorldWith(t *testing.T, set func(*world)) *world {
	t.Helper()
	w := &world{
		t:     t,
		kv:    &kv{KV: memstore.New()},
		clock: &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)},
	}
	w.log, w.logged = logtest.NewNullLogger()
	w.log.SetOutput(io.Discard)
	set(w)
	w.open()
	return w
}

// logLines are what was logged.
func (w *world) logLines() []string {
	var lines []string
	for _, e := range w.logged.AllEntries() {
		line, err := e.String()
		if err != nil {
			w.t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}

// open opens the manager anew from what is durable, as after a crash.
func (w *world) open() {
	w.t.Helper()
	kv := w.store
	if kv == nil {
		kv = w.kv
	}
	m, err := ipam.Open(w.t.Context(), kv, func() ([]netip.Prefix, error) { return w.routes, nil }, w.log,
		ipam.Settings{Pools: w.blocks, Now: w.clock.Now, Cluster: w.cluster})
	if err != nil {
		w.t.Fatal(err)
	}
	w.Manager = m
}

// pool makes and binds a pool.
func (w *world) pool(subnet, rng, network string) ipam.PoolID {
	w.t.Helper()
	id := w.unboundPool(subnet, rng)
	if err := w.BindPool(id, network); err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) unboundPool(subnet, rng string) ipam.PoolID {
	w.t.Helper()
	id, _, err := w.RequestPool(w.t.Context(), poolRequest(subnet, rng))
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func poolRequest(subnet, rng string) ipam.PoolRequest {
	req := ipam.PoolRequest{Space: ipam.SpaceHost, V6: strings.Contains(subnet, ":")}
	if subnet != "" {
		req.Subnet = netip.MustParsePrefix(subnet)
	}
	if rng != "" {
		req.Range = netip.MustParsePrefix(rng)
	}
	return req
}

// lease requests an address and returns it without its length.
func (w *world) lease(req ipam.AddressRequest) netip.Addr {
	w.t.Helper()
	got, err := w.RequestAddress(w.t.Context(), req)
	if err != nil {
		w.t.Fatalf("RequestAddress(%+v): %v", req, err)
	}
	return got.Addr()
}

func (w *world) wantLease(req ipam.AddressRequest, want string) {
	w.t.Helper()
	if got := w.lease(req); got.String() != want {
		w.t.Errorf("RequestAddress(%+v) = %s, want %s", req, got, want)
	}
}

// wantRefused asks for an address that cannot be had.
func (w *world) wantRefused(req ipam.AddressRequest, kind error, parts ...string) {
	w.t.Helper()
	got, err := w.RequestAddress(w.t.Context(), req)
	wantError(w.t, err, kind, parts...)
	if got.IsValid() {
		w.t.Errorf("RequestAddress(%+v) = %s with an error", req, got)
	}
}

func (w *world) release(id ipam.PoolID, addr netip.Addr) {
	w.t.Helper()
	if err := w.ReleaseAddress(w.t.Context(), id, addr); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) releasePool(id ipam.PoolID) {
	w.t.Helper()
	if err := w.ReleasePool(w.t.Context(), id); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) unbindPool(id ipam.PoolID, network string) {
	w.t.Helper()
	if err := w.UnbindPool(w.t.Context(), id, network); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) bind(id ipam.PoolID, addr netip.Addr, endpoint string) {
	w.t.Helper()
	if err := w.BindAddress(id, addr, endpoint); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) sweep() []string {
	w.t.Helper()
	reclaimed, err := w.Sweep(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return reclaimed
}

// keys are the durable keys of pools and leases.
func (w *world) keys() []string {
	w.t.Helper()
	pairs, _, err := w.kv.List(w.t.Context(), store.PoolsPrefix(ipam.SpaceHost), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	keys := []string{}
	for _, p := range pairs {
		keys = append(keys, strings.TrimPrefix(p.Key, store.PoolsPrefix(ipam.SpaceHost)))
	}
	return keys
}

func (w *world) wantKeys(want ...string) {
	w.t.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, w.keys()); diff != "" {
		w.t.Errorf("durable keys (-want +got):\n%s", diff)
	}
}

// wantSameAfterReopen checks that a restart changes nothing but the bindings.
func (w *world) wantSameAfterReopen() {
	w.t.Helper()
	before := unbound(w.Pools())
	w.open()
	if diff := cmp.Diff(before, unbound(w.Pools()), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		w.t.Errorf("pools after a restart (-before +after):\n%s", diff)
	}
}

func unbound(infos []ipam.PoolInfo) []ipam.PoolInfo {
	for i := range infos {
		infos[i].Network = ""
		for j := range infos[i].Leases {
			infos[i].Leases[j].Endpoint = ""
		}
	}
	return infos
}

func wantError(t *testing.T, err, kind error, parts ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("error %q is not %q", err, kind)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func any4(id ipam.PoolID) ipam.AddressRequest { return ipam.AddressRequest{Pool: id} }

func named(id ipam.PoolID, name string) ipam.AddressRequest {
	return ipam.AddressRequest{Pool: id, Name: name}
}

func static(id ipam.PoolID, addr, name string) ipam.AddressRequest {
	return ipam.AddressRequest{Pool: id, Address: netip.MustParseAddr(addr), Name: name}
}

func gateway(id ipam.PoolID, addr string) ipam.AddressRequest {
	req := ipam.AddressRequest{Pool: id, Gateway: true}
	if addr != "" {
		req.Address = netip.MustParseAddr(addr)
	}
	return req
}
