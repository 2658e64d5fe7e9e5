package names

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	miekgdns "github.com/miekg/dns"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/ournet/ournet/dns"
	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/backoff"
	"github.com/ournet/ournet/internal/engine"
	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/netnstest"
	"github.com/ournet/ournet/internal/sandbox"
	"github.com/ournet/ournet/internal/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

// Networks of tests.
var (
	front = driver.NetworkID(strings.Repeat("f", 64))
	back  = driver.NetworkID(strings.Repeat("b", 64))
)

// fakeEngine is an engine's word on networks and containers.
type fakeEngine struct {
	mu         sync.Mutex // guards following
	networks   map[string]engine.Network
	containers map[string]engine.Inspection
	// held are containers that are being started: to look at them takes until the
	// channel is closed.
	held map[string]chan struct{}
	// fails is how many questions are not answered.
	fails int
}

func (e *fakeEngine) answers() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fails > 0 {
		e.fails--
		return context.DeadlineExceeded
	}
	return nil
}

func (e *fakeEngine) Networks(context.Context) (map[string]engine.Network, error) {
	if err := e.answers(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make(map[string]engine.Network)
	for id, n := range e.networks {
		n.EndpointContainers, n.EndpointNames, n.Endpoints = make(map[string]string), make(map[string]string), make(map[string]bool)
		for _, c := range e.containers {
			for _, at := range c.Attachments {
				if at.Network == id {
					n.EndpointContainers[at.Endpoint], n.EndpointNames[at.Endpoint], n.Endpoints[at.Endpoint] = c.ID, c.Name, true
				}
			}
		}
		all[id] = n
	}
	return all, nil
}

func (e *fakeEngine) Network(ctx context.Context, id string) (engine.Network, error) {
	all, err := e.Networks(ctx)
	if err != nil {
		return engine.Network{}, err
	}
	if n, ok := all[id]; ok {
		return n, nil
	}
	return engine.Network{}, engine.ErrNotFound
}

func (e *fakeEngine) Inspect(ctx context.Context, id string) (engine.Inspection, error) {
	if err := e.answers(); err != nil {
		return engine.Inspection{}, err
	}
	e.mu.Lock()
	held := e.held[id]
	e.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return engine.Inspection{}, ctx.Err()
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if c, ok := e.containers[id]; ok {
		return c, nil
	}
	return engine.Inspection{}, engine.ErrNotFound
}

func (e *fakeEngine) set(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
}

// host is a host with real namespaces and an engine that says what a test wants.
type host struct {
	*Names

	t      *testing.T
	root   string
	engine *fakeEngine
	boxes  map[string]*netnstest.Namespace
	kv     *memstore.Store
	count  int
}

func newHost(t *testing.T, announcer Announcer) *host {
	t.Helper()
	h := &host{t: t, kv: memstore.New(), root: t.TempDir(), boxes: make(map[string]*netnstest.Namespace), engine: &fakeEngine{
		networks:   map[string]engine.Network{string(front): {Name: "front"}, string(back): {Name: "back"}},
		containers: make(map[string]engine.Inspection), held: make(map[string]chan struct{}),
	}}
	for _, dir := range []string{"run/docker/netns", "proc/1"} {
		if err := os.MkdirAll(filepath.Join(h.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/proc/self/mountinfo", filepath.Join(h.root, "proc/1/mountinfo")); err != nil {
		t.Fatal(err)
	}
	h.open(announcer)
	for _, n := range []driver.Network{{ID: front}, {ID: back, Internal: true}} {
		h.SetNetwork(n)
	}
	return h
}

// open begins a process.
func (h *host) open(announcer Announcer) {
	h.t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	records := dns.NewRecords()
	h.Names = New(log, Parts{
		Records: records, Store: h.kv, Engine: h.engine, Announcer: announcer, TTL: 5 * time.Second,
		Sandboxes: sandbox.New(log, hostfs.New(h.root), sandbox.Options{Timeout: time.Hour}),
		Responder: dns.New(log, records, dns.Options{ForwardTimeout: time.Second}),
	})
	h.retry = backoff.Backoff{First: time.Millisecond, Most: 5 * time.Millisecond}
	h.t.Cleanup(h.Close)
}

// namespace makes a sandbox's namespace, and returns its key.
func (h *host) namespace(name string) string {
	h.t.Helper()
	ns := netnstest.New(h.t)
	key := "/var/run/docker/netns/" + name
	if err := os.Symlink(ns.Path(), filepath.Join(h.root, "run/docker/netns", name)); err != nil {
		h.t.Fatal(err)
	}
	h.boxes[key] = ns
	return key
}

// attach has a container join a network with an address, and the engine know it. It
// returns the endpoint.
func (h *host) attach(c engine.Inspection, network driver.NetworkID, addr, key string, at engine.Attachment) driver.Endpoint {
	h.t.Helper()
	h.count++
	ep := driver.Endpoint{
		ID: driver.EndpointID(fmt.Sprintf("%064x", h.count)), Network: network, SandboxKey: key,
		Address: netip.PrefixFrom(netip.MustParseAddr(addr), 24),
	}
	at.Network, at.Endpoint = string(network), string(ep.ID)
	h.engine.set(func() {
		if have, ok := h.engine.containers[c.ID]; ok {
			c = have
		}
		c.Attachments = append(slices.Clone(c.Attachments), at)
		h.engine.containers[c.ID] = c
	})
	h.Join(h.t.Context(), ep)
	h.Heard(engine.Event{Kind: engine.Connected, Network: string(network), Container: c.ID})
	return ep
}

// container is a container that a test does not look at further, on the network front.
func (h *host) container(name, addr string, aliases ...string) driver.Endpoint {
	h.t.Helper()
	c := engine.Inspection{ID: strings.Repeat(fmt.Sprintf("%02x", h.count+0xa0), 32), Name: name, Hostname: "host-of-" + name}
	return h.attach(c, front, addr, "/var/run/docker/netns/of-"+name, engine.Attachment{Aliases: aliases})
}

// notOurs is what a query gets that goes to the engine's resolver: there is none.
const notOurs = "not ours"

// ask asks in a sandbox for a name's addresses.
func (h *host) ask(key, name string) string {
	h.t.Helper()
	m := new(miekgdns.Msg).SetQuestion(miekgdns.Fqdn(name), miekgdns.TypeA)
	var reply *miekgdns.Msg
	err := h.in(key, func(conn net.Conn) (err error) {
		reply, _, err = new(miekgdns.Client).ExchangeWithConn(m, &miekgdns.Conn{Conn: conn})
		return err
	})
	if err != nil || reply.Rcode != miekgdns.RcodeSuccess {
		return notOurs
	}
	var got []string
	for _, rr := range reply.Answer {
		if a, ok := rr.(*miekgdns.A); ok {
			got = append(got, a.A.String())
		}
	}
	slices.Sort(got)
	return strings.Join(got, " ")
}

// in calls f with a connection to the resolver of a sandbox.
func (h *host) in(key string, f func(conn net.Conn) error) error {
	var conn net.Conn
	h.boxes[key].Run(h.t, func() (err error) {
		conn, err = net.Dial("udp", "127.0.0.11:53")
		return err
	})
	defer conn.Close() //nolint:errcheck // a datagram socket
	return f(conn)
}

// answers waits until a name has these addresses in a sandbox.
func (h *host) answers(key, name, want string) {
	h.t.Helper()
	h.eventually(func() string {
		if got := h.ask(key, name); got != want {
			return fmt.Sprintf("in %s, %s is %q, want %q", filepath.Base(key), name, got, want)
		}
		return ""
	})
}

// eventually waits until nothing is wrong.
func (h *host) eventually(wrong func() string) {
	h.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		what := wrong()
		if what == "" {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatal(what)
		}
		select {
		case <-h.t.Context().Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}
