package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/store/memstore"
	"github.com/ournet/ournet/ipam"
)

// Ids for tests that need any.
var (
	testNetwork  = strings.Repeat("a", 64)
	testEndpoint = strings.Repeat("e", 64)
	otherID      = strings.Repeat("0", 64)
)

// discard returns a logger that says nothing.
func discard() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// stack is the handler with all below it but the kernel, in memory.
type stack struct {
	*Handler

	kv     *memstore.Store
	kernel *fakeKernel
	pools  *fakeAddresses // nil with the real address manager
	// dumpAddresses writes what the address manager has in memory.
	dumpAddresses func(*strings.Builder)
}

// newStack returns a handler on the real registry and a simple address manager.
func newStack(t testing.TB) *stack {
	t.Helper()
	s := &stack{kv: memstore.New(), kernel: newFakeKernel(), pools: newFakeAddresses()}
	s.Handler = NewHandler(discard(), s.registry(t), s.pools)
	s.dumpAddresses = s.pools.dump
	return s
}

// newRealStack returns a handler on the real registry and the real address
// manager, on one store.
func newRealStack(t testing.TB) *stack {
	t.Helper()
	s := &stack{kv: memstore.New(), kernel: newFakeKernel()}
	s.restart(t)
	return s
}

// restart begins anew with what is in the store and in the kernel.
func (s *stack) restart(t testing.TB) {
	t.Helper()
	noRoutes := func() ([]netip.Prefix, error) { return nil, nil }
	manager, err := ipam.Open(context.Background(), s.kv, noRoutes, discard(), ipam.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	networks := s.registry(t)
	if err := manager.Adopt(context.Background(), liveNetworks(networks.All())); err != nil {
		t.Fatal(err)
	}
	s.Handler = NewHandler(discard(), networks, manager)
	s.dumpAddresses = func(b *strings.Builder) {
		for _, p := range manager.Pools() {
			fmt.Fprintf(b, "%+v\n", p)
		}
	}
}

func (s *stack) registry(t testing.TB) *driver.Registry {
	t.Helper()
	networks, err := driver.Open(context.Background(), s.kv, map[driver.Type]driver.Driver{
		driver.TypeBridge: s.kernel, driver.TypeOverlay: s.kernel,
	}, discard())
	if err != nil {
		t.Fatal(err)
	}
	return networks
}

// state returns all that verbs can change, as text.
func (s *stack) state(t testing.TB) string {
	t.Helper()
	pairs, _, err := s.kv.List(context.Background(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, p := range pairs {
		fmt.Fprintf(&b, "%s = %s\n", p.Key, p.Value)
	}
	s.kernel.dump(&b)
	s.dumpAddresses(&b)
	return b.String()
}

// answer is one reply.
type answer struct {
	Status int
	Body   string
}

// ask sends one request without a socket.
func (s *stack) ask(t testing.TB, path, body string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	w := &recorder{header: http.Header{}}
	s.ServeHTTP(w, r)
	return answer{w.status, strings.TrimSuffix(w.body.String(), "\n")}
}

// must sends a request that has to succeed.
func (s *stack) must(t testing.TB, path, body string) string {
	t.Helper()
	a := s.ask(t, path, body)
	if a.Status != http.StatusOK {
		t.Fatalf("%s %s = %d %s", path, body, a.Status, a.Body)
	}
	return a.Body
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

// socketFolder returns a new folder with a path short enough for a socket in it.
func socketFolder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ournet") //nolint:usetesting // t.TempDir has the test's name in it, too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// serve opens s on a socket until the test ends and returns a function that asks
// it there; for the test's own goroutine.
func (s *stack) serve(t testing.TB) func(path string, body []byte) answer {
	t.Helper()
	client := s.open(t)
	return func(path string, body []byte) answer {
		t.Helper()
		return mustPost(t, client, path, body)
	}
}

// open opens s on a socket until the test ends and returns a client of it.
func (s *stack) open(t testing.TB) *http.Client {
	t.Helper()
	client, idle := socketClient(s.socket(t))
	t.Cleanup(idle) // before the server ends, which waits for connections
	return client
}

// socket opens s on a socket until the test ends and returns its path.
func (s *stack) socket(t testing.TB) string {
	t.Helper()
	path := filepath.Join(socketFolder(t), "ournet.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	h := s.Handler // restart makes another
	go func() { served <- Serve(ctx, h, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v after its context ended, want nil", err)
		}
		h.Wait()
	})
	return path
}

func socketClient(path string) (client *http.Client, closeIdle func()) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}, transport.CloseIdleConnections
}

func mustPost(t testing.TB, client *http.Client, path string, body []byte) answer {
	t.Helper()
	a, err := post(client, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// post sends a request as an engine does.
func post(client *http.Client, path string, body []byte) (answer, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://plugin"+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Accept", "application/vnd.docker.plugins.v1.2+json")
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, strings.TrimSuffix(string(text), "\n")}, errors.Join(err, resp.Body.Close())
}

// recorded is one request of testdata.
type recorded struct {
	Path  string          `json:"path"`
	Body  json.RawMessage `json:"body"`
	Reply json.RawMessage `json:"reply"`
}

// engines are the recordings in testdata.
func engines() []string { return []string{"20.10", "29"} }

func recordings(t testing.TB, engine string) []recorded {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "requests-"+engine+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var all []recorded
	for line := range bytes.Lines(raw) {
		var r recorded
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("recording of engine %s: %v", engine, err)
		}
		all = append(all, r)
	}
	return all
}

// fakeKernel is a driver that does what it is told to maps.
type fakeKernel struct {
	mu       sync.Mutex // guards the rest
	networks map[driver.NetworkID]string
	joined   map[driver.EndpointID]string
	ports    map[driver.EndpointID]string
	fail     error // what EnsureNetwork and Join answer
}

var (
	_ driver.Driver    = (*fakeKernel)(nil)
	_ driver.Publisher = (*fakeKernel)(nil)
)

func newFakeKernel() *fakeKernel {
	return &fakeKernel{
		networks: make(map[driver.NetworkID]string),
		joined:   make(map[driver.EndpointID]string),
		ports:    make(map[driver.EndpointID]string),
	}
}

func (k *fakeKernel) dump(b *strings.Builder) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fmt.Fprintf(b, "kernel networks %v\nkernel joined %v\nkernel ports %v\n", k.networks, k.joined, k.ports)
}

func (k *fakeKernel) Check(driver.Network, []driver.Network) error { return nil }

func (k *fakeKernel) EnsureNetwork(_ context.Context, n driver.Network) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	k.networks[n.ID] = fmt.Sprint(n.Subnets)
	return nil
}

func (k *fakeKernel) RemoveNetwork(_ context.Context, n driver.Network) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.networks, n.ID)
	return nil
}

func (k *fakeKernel) Join(_ context.Context, n driver.Network, ep driver.Endpoint) (driver.Attachment, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return driver.Attachment{}, k.fail
	}
	k.joined[ep.ID] = fmt.Sprint(ep.Addrs(), ep.MAC)
	att := driver.Attachment{SrcName: "onv" + string(ep.ID[:11]), DstPrefix: "eth", DstName: ep.InterfaceName}
	if n.Internal {
		return att, nil
	}
	for _, a := range ep.Addrs() {
		if a.Is4() {
			att.Gateway = n.Gateway(a)
		} else {
			att.GatewayIPv6 = n.Gateway(a)
		}
	}
	return att, nil
}

func (k *fakeKernel) Leave(_ context.Context, _ driver.Network, ep driver.Endpoint) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.joined, ep.ID)
	return nil
}

func (k *fakeKernel) Reconcile(context.Context, []driver.Attached, []driver.NetworkID) ([]string, error) {
	return nil, nil
}

func (k *fakeKernel) Publish(_ context.Context, _ driver.Network, ep driver.Endpoint, _ driver.Former) ([]driver.Binding, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	bound := slices.Clone(ep.Bindings)
	for i := range bound {
		if bound[i].HostPort == 0 {
			bound[i].HostPort, bound[i].HostPortEnd = 32768+bound[i].Port, 32768+bound[i].Port
		}
		if !bound[i].HostAddr.IsValid() {
			bound[i].HostAddr = netip.IPv4Unspecified()
		}
	}
	k.ports[ep.ID] = fmt.Sprint(bound)
	return bound, nil
}

func (k *fakeKernel) Unpublish(_ context.Context, _ driver.Network, ep driver.Endpoint) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.ports, ep.ID)
	return nil
}
