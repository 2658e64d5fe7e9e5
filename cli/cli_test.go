package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ournet/ournet/internal/admin"
	"github.com/ournet/ournet/internal/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// id returns an id of the engine's that begins with the digits.
func id(digits string) string { return digits + strings.Repeat("0", 64-len(digits)) }

func tcp(container, host string) admin.Port { return publishedPort("tcp", container, host) }

func publishedPort(protocol, container, host string) admin.Port {
	return admin.Port{Protocol: protocol, Container: netip.MustParseAddrPort(container), Host: netip.MustParseAddrPort(host)}
}

// estate is what a plugin has: two networks with published ports, one without, and
// containers in no order.
func estate() admin.Networks {
	return admin.Networks{Networks: []admin.Network{
		{ID: id("b2"), Endpoints: []admin.Endpoint{
			{ID: id("e3"), Ports: []admin.Port{publishedPort("udp", "10.9.1.2:53", "127.0.0.1:5353")}},
		}},
		{ID: id("f1"), Endpoints: []admin.Endpoint{
			{ID: id("e2"), Ports: []admin.Port{
				publishedPort("udp", "10.9.0.3:6379", "0.0.0.0:32768"), tcp("10.9.0.3:6379", "0.0.0.0:32769"),
			}},
			{ID: id("e1"), Ports: []admin.Port{
				tcp("[fd09::2]:80", "[::]:8080"), tcp("10.9.0.2:443", "192.0.2.1:8443"), tcp("10.9.0.2:80", "0.0.0.0:8080"),
			}},
			{ID: id("e4"), Ports: []admin.Port{}},
		}},
		{ID: id("c3"), Endpoints: []admin.Endpoint{}},
	}}
}

// fakeEngine has the names of the estate, and whatever else an engine has.
type fakeEngine struct{ err error }

func (f fakeEngine) Networks(context.Context) (map[string]engine.Network, error) {
	return map[string]engine.Network{
		id("b2"): {Name: "back", EndpointNames: map[string]string{id("e3"): "dns"}, EndpointContainers: map[string]string{id("e3"): id("d3")}},
		id("f1"): {
			Name:               "front",
			EndpointNames:      map[string]string{id("e1"): "web", id("e2"): "any", id("e4"): "shy"},
			EndpointContainers: map[string]string{id("e1"): id("d1"), id("e4"): id("d4")}, // any is about to join
		},
		id("c3"): {Name: "closed"},
		id("aa"): {Name: "other"},
	}, f.err
}

func (f fakeEngine) Containers(context.Context) ([]engine.Container, error) {
	return []engine.Container{
		{ID: id("d1"), Name: "web"},
		{ID: id("d2"), Name: "any"},
		{ID: id("d3"), Name: "dns"},
		{ID: id("d4"), Name: "shy"},
		{ID: id("d5"), Name: "stopped"},
		{ID: id("d6"), Name: "closed"},
	}, f.err
}

// outcome is what a command leaves.
type outcome struct {
	stdout, stderr string
	err            error
}

// call runs the command against plugin and names.
func call(t *testing.T, socket string, names namer, args ...string) outcome {
	t.Helper()
	return callIn(t, nil, socket, names, args...)
}

// callIn is call with an environment.
func callIn(t *testing.T, env map[string]string, socket string, names namer, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c := &command{
		Process: Process{Args: args, Stdout: &stdout, Stderr: &stderr, Getenv: func(key string) string { return env[key] }},
		socket:  func(string) string { return socket },
		engine:  func(string) namer { return names },
	}
	err := c.run(t.Context())
	return outcome{stdout.String(), stderr.String(), err}
}

// plugin answers with have on a socket until the test ends, and returns its path.
func plugin(t *testing.T, have admin.Networks) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+admin.NetworksPath, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(have) // a broken connection is the client's to report
	})
	return serve(t, mux)
}

// serve answers on a socket until the test ends, and returns its path.
func serve(t *testing.T, mux *http.ServeMux) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli") //nolint:usetesting // t.TempDir has the test's name in it, too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ournet.sock")
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(srv.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve = %v", err)
		}
	})
	return path
}

func TestMetadata_isWhatTheClientWants(t *testing.T) {
	t.Parallel()
	got := call(t, "", nil, metadataVerb)
	var m map[string]string
	if err := errors.Join(got.err, json.Unmarshal([]byte(got.stdout), &m)); err != nil {
		t.Fatalf("%s printed %q: %v", metadataVerb, got.stdout, err)
	}
	// docker/cli cli-plugins/manager/plugin.go: any other schema, or no vendor, is refused.
	if m["SchemaVersion"] != "0.1.0" || m["Vendor"] == "" || m["Version"] == "" || m["ShortDescription"] == "" || m["URL"] == "" {
		t.Errorf("metadata = %v", m)
	}
}

func TestRun_sameByTheClientAndByItself(t *testing.T) {
	t.Parallel()
	socket := plugin(t, estate())
	want := call(t, socket, fakeEngine{}, "ports", "back")
	if want.err != nil || !strings.Contains(want.stdout, "127.0.0.1:5353") {
		t.Fatalf("ports back = %+v", want)
	}
	client := map[string]string{envClient: "docker"}
	for _, tc := range []struct {
		name string
		env  map[string]string
		args []string
	}{
		{"by the client", client, []string{"ournet", "ports", "back"}},
		{"by the client, with its own flags", client, []string{
			"-H", "unix:///x", "--debug", "-l", "warn", "--config", "/x", "--tls=false", "--tlscacert=x", "-c", "default", "ournet", "ports", "back",
		}},
		{"as the client does, by hand", nil, []string{"ournet", "ports", "back"}},
		{"by itself, with a flag of the client's", nil, []string{"-H", "unix:///x", "ports", "back"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := callIn(t, tc.env, socket, fakeEngine{}, tc.args...); got != want {
				t.Errorf("%q = %+v, want %+v", tc.args, got, want)
			}
		})
	}
}

func TestRun_helpNamesTheCommandAsItWasCalled(t *testing.T) {
	t.Parallel()
	client := map[string]string{envClient: "docker"}
	for _, tc := range []struct {
		env  map[string]string
		args []string
		want string
	}{
		{client, []string{"ournet", "ports", "--help"}, "docker ournet ports [OPTIONS] [NETWORK|CONTAINER]"},
		{client, []string{"help", "ournet"}, "docker ournet [command]"},
		{client, []string{"ournet"}, "docker ournet [command]"},
		{nil, []string{"ports", "--help"}, "docker-ournet ports [OPTIONS] [NETWORK|CONTAINER]"},
		{nil, nil, "docker-ournet [command]"},
	} {
		got := callIn(t, tc.env, "", nil, tc.args...)
		if got.err != nil || !strings.Contains(got.stdout, tc.want) || strings.Contains(got.stdout, "tlscacert") {
			t.Errorf("%q = %+v, want help with %q", tc.args, got, tc.want)
		}
	}
}

func TestRun_asksThePluginOfThatName(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		env  string
		args []string
		want string
	}{
		{"", nil, "ournet"},
		{"second", nil, "second"},
		{"second", []string{"--plugin", "third"}, "third"},
	} {
		var asked []string
		c := &command{
			Process: Process{
				Args: append([]string{"ports"}, tc.args...), Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{},
				Getenv: func(key string) string { return map[string]string{envPlugin: tc.env}[key] },
			},
			socket: func(name string) string { asked = append(asked, name); return "/nowhere/ournet.sock" },
		}
		if err := c.run(t.Context()); err == nil || !slices.Equal(asked, []string{tc.want}) {
			t.Errorf("with %q in the environment, ports %q asks %q (%v), want %s", tc.env, tc.args, asked, err, tc.want)
		}
	}
}

func TestRun_errorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	socket, stranger := plugin(t, estate()), plugin(t, admin.Networks{})
	for _, tc := range []struct {
		name, socket string
		args         []string
		says         []string
	}{
		{"no such command", socket, []string{"prots"}, []string{"prots"}},
		{"no such flag", socket, []string{"ports", "--all"}, []string{"--all", "docker-ournet ports --help"}},
		{"too many arguments", socket, []string{"ports", "a", "b"}, []string{"at most 1"}},
		{"a name that leads elsewhere", socket, []string{"ports", "--plugin", "../docker"}, []string{"../docker", "lower-case"}},
		{"no name", socket, []string{"ports", "--plugin", ""}, []string{"want a name"}},
		{"a context", socket, []string{"-c", "far", "ports"}, []string{"far", "own host"}},
		{"no plugin", "/nowhere/ournet.sock", []string{"ports"}, []string{"/nowhere/ournet.sock", "not running", "docker plugin enable"}},
		{"an unknown thing", stranger, []string{"ports", "lab"}, []string{`"lab"`, "no network", "no container"}},
		{"an unknown field", socket, []string{"ports", "--format", "{{.Color}}"}, []string{"Color", ".Network, .NetworkID"}},
		{"an unknown field in a table", stranger, []string{"ports", "--format", "table {{.Color}}"}, []string{"Color", ".Network, .NetworkID"}},
		{"no template", stranger, []string{"ports", "--format", "{{"}, []string{"--format"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := call(t, tc.socket, fakeEngine{}, tc.args...)
			if got.err == nil || got.stdout != "" {
				t.Fatalf("%q = %+v, want an error alone", tc.args, got)
			}
			for _, word := range tc.says {
				if !strings.Contains(got.err.Error(), word) {
					t.Errorf("%q: %q, want that it says %q", tc.args, got.err, word)
				}
			}
		})
	}
}

func TestRun_exitCodeSaysWhetherItWorked(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		code int
	}{{[]string{"--version"}, 0}, {[]string{"bogus"}, 1}} {
		var stdout, stderr bytes.Buffer
		code := Run(t.Context(), Process{Args: tc.args, Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }})
		if code != tc.code || (stderr.Len() > 0) != (code != 0) {
			t.Errorf("%q = %d with %q on standard error, want %d", tc.args, code, stderr.String(), tc.code)
		}
	}
}
