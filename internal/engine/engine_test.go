package engine

import (
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

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/ournet/ournet/internal/backoff"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeEngine speaks enough of an engine's API over a unix socket.
type fakeEngine struct {
	t       *testing.T
	root    string
	version string

	mu     sync.Mutex // guards what follows
	server *http.Server
	served chan error
	paths  []string // asked for, without the version
	bodies map[string]string
	events chan string // "" breaks the stream
	// answers are for paths that take more than a body; set before start.
	answers map[string]http.HandlerFunc
}

// newFakeEngine returns an engine that is not running yet.
func newFakeEngine(t *testing.T, version string) *fakeEngine {
	t.Helper()
	root, err := os.MkdirTemp("", "engine") //nolint:usetesting // t.TempDir has the test's name in it, too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	e := &fakeEngine{t: t, root: root, version: version, bodies: make(map[string]string), events: make(chan string)}
	t.Cleanup(func() {
		e.stop()
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	return e
}

func (e *fakeEngine) start() {
	e.t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "unix", filepath.Join(e.root, "run", "docker.sock"))
	if err != nil {
		e.t.Fatal(err)
	}
	server := &http.Server{Handler: e, ReadHeaderTimeout: time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server, e.served = server, served
}

func (e *fakeEngine) stop() {
	e.mu.Lock()
	server, served := e.server, e.served
	e.server = nil
	e.mu.Unlock()
	if server == nil {
		return
	}
	if err := server.Close(); err != nil {
		e.t.Errorf("close fake engine: %v", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		e.t.Errorf("fake engine: %v", err)
	}
}

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", e.version)
	if r.URL.Path == "/_ping" {
		return
	}
	prefix := "/v" + e.version
	path, ok := strings.CutPrefix(r.URL.Path, prefix)
	if !ok {
		http.Error(w, "client version is too new", http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	e.paths = append(e.paths, path)
	body, known := e.bodies[path]
	e.mu.Unlock()
	answer := e.answers[path]
	switch {
	case path == "/events":
		e.stream(w, r)
	case answer != nil:
		answer(w, r)
	case known:
		_, _ = io.WriteString(w, body) // a broken connection is the client's to report
	default:
		http.Error(w, `{"message":"no such network"}`, http.StatusNotFound)
	}
}

func (e *fakeEngine) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush() //nolint:errcheck // net/http's always is one
	for {
		select {
		case <-r.Context().Done():
			return
		case line := <-e.events:
			if line == "" {
				return
			}
			_, _ = io.WriteString(w, line+"\n")
			w.(http.Flusher).Flush() //nolint:errcheck // net/http's always is one
		}
	}
}

func (e *fakeEngine) client() *Client {
	log := logrus.New()
	log.SetOutput(io.Discard)
	c := New(e.root, log)
	c.retry = backoff.Backoff{First: time.Millisecond, Most: 5 * time.Millisecond}
	return c
}

const (
	idA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	idB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	idC = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
	ep1 = "1111111111111111111111111111111111111111111111111111111111111111"
	ep2 = "2222222222222222222222222222222222222222222222222222222222222222"
)

// versions are the oldest and the newest API that must work, and one between.
func versions() []string { return []string{"1.41", "1.44", "1.56"} }

func TestNetworks_listsEndpointsOfRemoteDriversOnly(t *testing.T) {
	t.Parallel()
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			e := newFakeEngine(t, version)
			e.bodies["/networks"] = `[{"Id":"` + idC + `","Name":"bridge","Driver":"bridge"},
				{"Id":"` + idA + `","Name":"lab","Driver":"ournet"},
				{"Id":"` + idB + `","Name":"old","Driver":"ournet/ournet:latest"}]`
			e.bodies["/networks/"+idA] = `{"Id":"` + idA + `","Name":"lab","Driver":"ournet","Containers":{
				"0123":{"Name":"c1","EndpointID":"` + ep1 + `","MacAddress":"","IPv4Address":"10.0.0.2/24","IPv6Address":""},
				"ep-` + ep2 + `":{"Name":"c2","EndpointID":"` + ep2 + `"}}}`
			e.bodies["/networks/"+idB] = `{"Id":"` + idB + `","Name":"old","Driver":"ournet/ournet:latest","Containers":{}}`
			e.start()
			got, err := e.client().Networks(t.Context())
			if err != nil {
				t.Fatalf("Networks: %v", err)
			}
			want := map[string]Network{
				idA: {
					Name: "lab", Driver: "ournet", Endpoints: map[string]bool{ep1: true, ep2: true},
					EndpointNames:      map[string]string{ep1: "c1", ep2: "c2"},
					EndpointContainers: map[string]string{ep1: "0123"},
				},
				idB: {
					Name: "old", Driver: "ournet/ournet:latest",
					Endpoints: map[string]bool{}, EndpointNames: map[string]string{}, EndpointContainers: map[string]string{},
				},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Networks (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNetworks_listsBuiltInDriversWithARemoteAddressManager(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.56")
	body := `"Name":"mixed","Driver":"bridge","IPAM":{"Driver":"ournet","Config":[{"Subnet":"10.9.0.0/24"}]}`
	e.bodies["/networks"] = `[{"Id":"` + idA + `",` + body + `},
		{"Id":"` + idB + `","Name":"bridge","Driver":"bridge","IPAM":{"Driver":"default","Config":[{"Subnet":"172.17.0.0/16"}]}}]`
	e.bodies["/networks/"+idA] = `{"Id":"` + idA + `",` + body + `,"Containers":{}}`
	e.start()
	got, err := e.client().Networks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")}
	if len(got) != 1 || !slices.Equal(got[idA].Subnets, want) {
		t.Errorf("Networks = %v, want the mixed one alone, with %v", got, want)
	}
}

// Engine 20.10 writes an IPv6 gateway as 10.0.0.1/24 would be for IPv4.
func TestNetworks_gatewayWithPrefixLengthIsNoObstacle(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	body := `"Name":"six","Driver":"ournet","IPAM":{"Config":[{"Subnet":"fd00::/64","Gateway":"fd00::1/64"}]}`
	e.bodies["/networks"] = `[{"Id":"` + idA + `",` + body + `}]`
	e.bodies["/networks/"+idA] = `{"Id":"` + idA + `",` + body + `,"Containers":{}}`
	e.start()
	got, err := e.client().Networks(t.Context())
	if err != nil || len(got) != 1 {
		t.Fatalf("Networks = %v, %v, want one network", got, err)
	}
}

func TestNetworks_networkRemovedMeanwhileIsLeftOut(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.56")
	e.bodies["/networks"] = `[{"Id":"` + idA + `","Driver":"ournet"}]`
	e.start()
	got, err := e.client().Networks(t.Context())
	if err != nil || len(got) != 0 {
		t.Fatalf("Networks = %v, %v, want none", got, err)
	}
}

// A half answer would have the keeper delete what is alive.
func TestNetworks_unreadableAnswerIsAnError(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.56")
	e.bodies["/networks"] = `[{"Id":"` + idA + `","Driver":"ournet"},{"Id":"` + idB + `","Driver":"ournet"}]`
	e.bodies["/networks/"+idA] = `{"Id":"` + idA + `"}`
	e.bodies["/networks/"+idB] = `{"Id":`
	e.start()
	if got, err := e.client().Networks(t.Context()); err == nil {
		t.Fatalf("Networks = %v, want an error", got)
	}
}

func TestNetworks_absentEngineIsAnError(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.56")
	if got, err := e.client().Networks(t.Context()); err == nil {
		t.Fatalf("Networks = %v, want an error", got)
	}
}

func TestView_namesEveryDeviceOfTheBuiltInDriver(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	list, err := json.Marshal([]apiNetwork{
		{ID: idA, Name: "bridge", Driver: "bridge", Options: map[string]string{optBridgeName: "docker0"}},
		{ID: idB, Name: "user", Driver: "bridge"},
		{ID: idC, Name: "named", Driver: "bridge", Options: map[string]string{optBridgeName: "lab0"}},
		{ID: ep1, Name: "docker_gwbridge", Driver: "bridge"},
		{ID: ep2, Name: "lab", Driver: "ournet"},
	})
	if err != nil {
		t.Fatal(err)
	}
	e.bodies["/networks"], e.bodies["/networks/"+ep2] = string(list), `{"Id":"`+ep2+`","Driver":"ournet"}`
	e.start()
	v, err := e.client().View(t.Context(), "")
	if err != nil {
		t.Fatalf("View: %v", err)
	}
	if diff := cmp.Diff([]string{"br-bbbbbbbbbbbb", "docker0", "docker_gwbridge", "lab0"}, v.Bridges); diff != "" {
		t.Errorf("Bridges (-want +got):\n%s", diff)
	}
}

// Once for each thing: a sweep is every 30 seconds, and an engine with many networks
// takes long over the list.
func TestView_asksOurOwnEngineOnce(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	e.bodies["/plugins"] = `[{"Id":"` + idA + `"}]`
	e.bodies["/networks"] = `[{"Id":"` + idC + `","Name":"bridge","Driver":"bridge"},{"Id":"` + idB + `","Driver":"ournet"}]`
	e.bodies["/networks/"+idB] = `{"Id":"` + idB + `","Driver":"ournet"}`
	e.start()
	v, err := e.client().View(t.Context(), idA)
	if err != nil || len(v.Networks) != 1 || !slices.Equal(v.Bridges, []string{"docker0"}) {
		t.Errorf("View = %+v, %v; want one network and docker0", v, err)
	}
	if diff := cmp.Diff([]string{"/plugins", "/networks", "/networks/" + idB}, e.paths); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if v, err := e.client().View(t.Context(), idB); !errors.Is(err, ErrOther) {
		t.Errorf("View of another's plugin = %+v, %v; want %v", v, err, ErrOther)
	}
}

// watch runs Watch until the test ends and returns what it hears.
func watch(t *testing.T, c *Client) <-chan Event {
	t.Helper()
	heard := make(chan Event, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Watch(ctx, func(ev Event) { heard <- ev }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Watch = %v after its context ended, want nil", err)
		}
	})
	return heard
}

func expect(t *testing.T, heard <-chan Event, want Event) {
	t.Helper()
	select {
	case got := <-heard:
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("event (-want +got):\n%s", diff)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("heard nothing, want %+v", want)
	}
}

func eventLine(action, network, driver string) string {
	return fmt.Sprintf(`{"Type":"network","Action":%q,"Actor":{"ID":%q,"Attributes":{"name":"x","type":%q,"container":"c9"}}}`,
		action, network, driver)
}

func TestWatch_hearsChangesOfRemoteNetworksOnly(t *testing.T) {
	t.Parallel()
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			e := newFakeEngine(t, version)
			e.start()
			heard := watch(t, e.client())
			expect(t, heard, Event{Kind: Resync})
			e.events <- eventLine("connect", idB, "bridge")
			for _, tc := range []struct {
				action string
				kind   Kind
			}{{"create", NetworkCreated}, {"connect", Connected}, {"disconnect", Disconnected}, {"destroy", NetworkDestroyed}} {
				e.events <- eventLine(tc.action, idA, "ournet")
				expect(t, heard, Event{Kind: tc.kind, Network: idA, Container: "c9"})
			}
		})
	}
}

func TestWatch_brokenStreamResyncs(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.56")
	e.start()
	heard := watch(t, e.client())
	expect(t, heard, Event{Kind: Resync})
	e.events <- ""
	expect(t, heard, Event{Kind: Resync})
	e.events <- eventLine("create", idA, "ournet")
	expect(t, heard, Event{Kind: NetworkCreated, Network: idA, Container: "c9"})
}

func TestWatch_waitsForTheEngineAndFollowsItsVersion(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.56")
	heard := watch(t, e.client()) // as at boot: plugin first, then engine
	e.start()
	expect(t, heard, Event{Kind: Resync})
	e.stop()
	e.version = "1.41" // the engine was downgraded meanwhile
	e.start()
	expect(t, heard, Event{Kind: Resync})
}
