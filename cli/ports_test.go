package cli

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/internal/admin"
	"github.com/ournet/ournet/internal/engine"
)

// update is read by golden tests alone.
var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-golden +got):\n%s", name, diff)
	}
}

func TestPorts_formatsAreGolden(t *testing.T) {
	t.Parallel()
	socket := plugin(t, estate())
	for _, tc := range []struct {
		name string
		args []string
	}{
		{"table", nil},
		{"table-no-trunc", []string{"--format", `table {{.NetworkID}}\t{{.ContainerID}}\t{{.EndpointID}}\t{{.HostPort}}`, "--no-trunc"}},
		{"table-template", []string{"--format", `table {{upper .Network}}\t{{.ContainerID}}\t{{.HostIP}}\t{{.HostPort}}\t{{truncate .Protocol 1}}`}},
		{"json", []string{"--format", "json"}},
		{"template", []string{"--format", `{{title .Network}}: {{json .Port}}/{{.Protocol | upper}} {{join (split .Container "e") "-"}}{{pad .HostAddress 2 1}}|`}},
		{"network", []string{"front"}},
		{"container", []string{"web"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := call(t, socket, fakeEngine{}, append([]string{"ports"}, tc.args...)...)
			if got.err != nil || got.stderr != "" {
				t.Fatalf("ports %q = %+v", tc.args, got)
			}
			golden(t, tc.name, got.stdout)
		})
	}
}

func TestPorts_withoutTheEngineIdsAreShown(t *testing.T) {
	t.Parallel()
	socket := plugin(t, estate())
	got := call(t, socket, fakeEngine{err: errors.New("the engine sleeps")}, "ports")
	if got.err != nil {
		t.Fatal(got.err)
	}
	golden(t, "ids", got.stdout)
	if strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "the engine sleeps") {
		t.Errorf("on standard error is %q, want one line that says why", got.stderr)
	}
	// What is shown can be asked for.
	for _, arg := range []string{id("b2")[:12], id("e3")[:12], "e3"} {
		got := call(t, socket, fakeEngine{err: errors.New("the engine sleeps")}, "ports", "--format", "{{.HostAddress}}", arg)
		if got.err != nil || got.stdout != "127.0.0.1:5353\n" {
			t.Errorf("ports %s = %+v", arg, got)
		}
	}
}

func TestPorts_ofAnotherHostsEngineNamesAreNotTaken(t *testing.T) {
	t.Parallel()
	socket := plugin(t, admin.Networks{Networks: []admin.Network{{ID: id("77"), Endpoints: []admin.Endpoint{
		{ID: id("78"), Ports: []admin.Port{tcp("10.0.0.2:80", "0.0.0.0:80")}},
	}}}})
	got := call(t, socket, fakeEngine{}, "ports", "--format", "{{.Network}} {{.Container}}")
	if got.err != nil || got.stdout != "770000000000 780000000000\n" || !strings.Contains(got.stderr, "DOCKER_HOST") {
		t.Errorf("ports = %+v, want ids, and a hint at DOCKER_HOST", got)
	}
}

func TestPorts_saysThatSomeCannotBeShown(t *testing.T) {
	t.Parallel()
	have := estate()
	have.Networks[0].Unreadable, have.Networks[2].Unreadable = 1, 2
	got := call(t, plugin(t, have), fakeEngine{}, "ports", "--format", "{{.HostAddress}}", "back")
	if got.err != nil || got.stdout != "127.0.0.1:5353\n" || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "3 endpoints") {
		t.Errorf("ports = %+v, want the list, and a line about 3 endpoints", got)
	}
}

// A routed gateway publishes a port at the container alone.
func TestPorts_withNoPortOfTheHostThereIsNoHostAddress(t *testing.T) {
	t.Parallel()
	have := admin.Networks{Networks: []admin.Network{{ID: id("b2"), Endpoints: []admin.Endpoint{
		{ID: id("e3"), Ports: []admin.Port{tcp("10.9.1.2:53", "0.0.0.0:0"), tcp("[fd09::2]:53", "[::]:0")}},
	}}}}
	got := call(t, plugin(t, have), fakeEngine{}, "ports", "--format", "{{.Address}} <{{.HostAddress}}> {{.HostPort}}")
	if want := "10.9.1.2:53/tcp <> 0\n[fd09::2]:53/tcp <> 0\n"; got.err != nil || got.stdout != want {
		t.Errorf("ports = %+v, want %q", got, want)
	}
}

// The engine lets a network have any name.
func TestPortsOf_namesCannotWriteElsewhereOnTheScreen(t *testing.T) {
	t.Parallel()
	names := directory{networks: map[string]engine.Network{id("b2"): {Name: "a\x1b[2Jb\tc\nd\u202e é 網"}}}
	rows := portsOf(estate(), names)
	if want := "a\ufffd[2Jb\ufffdc\ufffdd\ufffd é 網"; rows[0].Network != want {
		t.Errorf("the network is shown as %q, want %q", rows[0].Network, want)
	}
}

func TestPorts_withNothingPublishedThereIsNoLine(t *testing.T) {
	t.Parallel()
	socket := plugin(t, admin.Networks{})
	if got := call(t, socket, nil, "ports"); got.err != nil || got.stderr != "" || strings.Count(got.stdout, "\n") != 1 {
		t.Errorf("ports = %+v, want the titles alone", got)
	}
	for _, format := range []string{"json", "{{.HostPort}}"} {
		if got := call(t, socket, nil, "ports", "--format", format); got != (outcome{}) {
			t.Errorf("ports --format %s = %+v, want nothing", format, got)
		}
	}
}

func TestPorts_argumentIsANameAnIDOrItsBeginning(t *testing.T) {
	t.Parallel()
	socket := plugin(t, estate())
	for _, tc := range []struct{ arg, want, refused string }{
		{arg: "back", want: "127.0.0.1:5353"},
		{arg: id("b2"), want: "127.0.0.1:5353"},
		{arg: "b", want: "127.0.0.1:5353"},
		{arg: "dns", want: "127.0.0.1:5353"},
		{arg: "web", want: "0.0.0.0:8080 [::]:8080 192.0.2.1:8443"},
		{arg: "d1", want: "0.0.0.0:8080 [::]:8080 192.0.2.1:8443"},
		{arg: "any", want: "0.0.0.0:32769 0.0.0.0:32768"},
		{arg: "shy"},
		{arg: "stopped"},
		{arg: "c3"},
		{arg: "closed", refused: "network closed (c30000000000), container closed (d60000000000)"},
		{arg: "d", refused: "ambiguous"},
		{arg: "we", refused: "no network of ournet's and no container"}, // names are not shortened
		{arg: "other", refused: "no network of ournet's"},               // it is another driver's
		{arg: "e1", refused: "no network"},                              // endpoints have no name to the user
		{arg: "", refused: `""`},
	} {
		t.Run("arg "+tc.arg, func(t *testing.T) {
			t.Parallel()
			got := call(t, socket, fakeEngine{}, "ports", "--format", "{{.HostAddress}}", tc.arg)
			if tc.refused != "" {
				if got.err == nil || !strings.Contains(got.err.Error(), tc.refused) || got.stdout != "" {
					t.Errorf("ports %q = %+v, want an error that says %q", tc.arg, got, tc.refused)
				}
				return
			}
			if list := strings.Join(strings.Fields(got.stdout), " "); got.err != nil || list != tc.want {
				t.Errorf("ports %q = %q, %v, want %q", tc.arg, list, got.err, tc.want)
			}
		})
	}
}
