package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/ournet/ournet"
	// root is the repository's root, seen from this package's folder.
	root = "../.."
)

// internalImports is the import order: each package of the product, and what of
// the module it may import. "*" is everything but tests. Leaves import nothing.
func internalImports() map[string][]string {
	return map[string][]string{
		"cmd/ournet":               {"plugin", "internal/config"},
		"cmd/docker-ournet":        {"cli"},
		"cli":                      {"internal/admin", "internal/config", "internal/engine", "internal/version"},
		"plugin":                   {"*"},
		"plugin/names":             {"dns", "driver", "internal/backoff", "internal/doorway", "internal/engine", "internal/sandbox", "internal/store", "internal/turn"},
		"plugin/remotenames":       {"dns", "driver", "internal/cluster"},
		"dns":                      {},
		"driver":                   {"internal/store", "internal/ttl", "internal/turn"},
		"driver/bridge":            {"driver", "driver/port", "internal/firewall", "internal/hostport", "internal/link", "internal/turn"},
		"driver/overlay":           {"driver", "driver/port", "internal/firewall", "internal/link", "internal/turn"},
		"driver/port":              {"driver", "internal/firewall", "internal/link"},
		"ipam":                     {"ipam/ledger", "internal/addrset", "internal/backoff", "internal/store", "internal/turn"},
		"ipam/ledger":              {"internal/addrset", "internal/backoff", "internal/store"},
		"internal/addrset":         {},
		"internal/admin":           {},
		"internal/archtest":        {},
		"internal/backoff":         {},
		"internal/cluster":         {"internal/backoff", "internal/store", "internal/store/journal", "internal/turn"},
		"internal/config":          {"internal/ttl"},
		"internal/consultest":      {},
		"internal/doorway":         {},
		"internal/engine":          {"internal/backoff", "internal/hostfs"},
		"internal/firewall":        {"internal/hostfs"},
		"internal/hostfs":          {},
		"internal/hostport":        {},
		"internal/link":            {"internal/hostfs"},
		"internal/netnstest":       {},
		"internal/sandbox":         {"internal/hostfs", "internal/turn"},
		"internal/store":           {"internal/backoff"},
		"internal/store/boltstore": {"internal/store"},
		"internal/store/consul":    {"internal/backoff", "internal/store"},
		"internal/store/journal":   {"internal/store"},
		"internal/store/memstore":  {"internal/store"},
		"internal/store/storetest": {"internal/store"},
		"internal/ttl":             {},
		"internal/turn":            {},
		"internal/underlay":        {},
		"internal/upstream":        {"internal/hostfs"},
		"internal/version":         {},
	}
}

// forTests are packages that only tests may import. A test may import all of
// internal: it sets up what its package is handed by the one above.
func forTests() []string {
	return []string{
		"internal/netnstest", "internal/consultest", "internal/store/memstore", "internal/store/storetest",
	}
}

// libraries are packages of others that are confined: by the start of their path,
// to these packages of ours.
func libraries() map[string][]string {
	return map[string][]string{
		"github.com/docker/go-plugins-helpers": {"plugin"},
		"github.com/vishvananda/netlink":       {"internal/link", "internal/netnstest"},
		"github.com/vishvananda/netns":         {"internal/link", "internal/netnstest"},
		// What sandbox has is one table of two rules in the container's namespace;
		// firewall is the host's, and knows nothing of other namespaces.
		"github.com/google/nftables":      {"internal/firewall", "internal/sandbox"},
		"github.com/coreos/go-iptables":   {"internal/firewall"},
		"github.com/miekg/dns":            {"dns"},
		"go.etcd.io/bbolt":                {"internal/store/boltstore"},
		"github.com/moby/moby":            {"internal/engine"},
		"github.com/spf13":                {"cli"},
		"github.com/hashicorp/consul/api": {"internal/store/consul", "internal/consultest"},
		"os/exec":                         {"internal/netnstest", "internal/consultest"},
	}
}

// goPackage is what `go list -json` says of a package, as far as it matters here.
type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// name is the package's path in the module.
func (p goPackage) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// testImports is what its tests import.
func (p goPackage) testImports() []string { return slices.Concat(p.TestImports, p.XTestImports) }

// product reports whether the package is part of ournet, and not of what tests,
// measures and sets it up.
func (p goPackage) product() bool {
	return !strings.HasPrefix(p.name(), "test/") && !strings.HasPrefix(p.name(), "tools/")
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}

// checkImport returns what is wrong with an import of our own, or "".
func checkImport(from, to string, allowed []string, inTest bool) string {
	switch {
	case from == to, slices.Contains(allowed, to):
		return ""
	case inTest && strings.HasPrefix(to, "internal/"):
		return ""
	case slices.Contains(forTests(), to):
		return from + " imports " + to + ", which is for tests only"
	case strings.HasPrefix(to, "test/"), strings.HasPrefix(to, "tools/"):
		return from + " imports " + to + ", which is no part of the product"
	case slices.Contains(allowed, "*"):
		return ""
	}
	return from + " imports " + to + ", which is not below it in the import order"
}

func TestImports_followTheOrder(t *testing.T) {
	t.Parallel()
	order := internalImports()
	for _, p := range packages(t) {
		if !p.product() {
			continue
		}
		allowed, known := order[p.name()]
		if !known {
			t.Errorf("%s is not in the import order: say there what it may import", p.name())
			continue
		}
		check := func(imports []string, inTest bool) {
			for _, path := range imports {
				to, ours := strings.CutPrefix(path, module+"/")
				// These rules read the code that they are about.
				if !ours || inTest && p.name() == "internal/archtest" {
					continue
				}
				if problem := checkImport(p.name(), to, allowed, inTest); problem != "" {
					t.Error(problem)
				}
			}
		}
		check(p.Imports, false)
		check(p.testImports(), true)
	}
}

func TestImports_orderHasNoPackageThatIsGone(t *testing.T) {
	t.Parallel()
	have := make(map[string]bool)
	for _, p := range packages(t) {
		have[p.name()] = true
	}
	for name, allowed := range internalImports() {
		for _, n := range append(slices.Clone(allowed), name) {
			if n != "*" && !have[n] {
				t.Errorf("the import order has %s, which does not exist", n)
			}
		}
	}
}

func TestImports_librariesAreConfined(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if !p.product() {
			continue
		}
		for _, path := range p.Imports {
			for library, where := range libraries() {
				if (path == library || strings.HasPrefix(path, library+"/")) && !slices.Contains(where, p.name()) {
					t.Errorf("%s imports %s, which is confined to %s", p.name(), path, strings.Join(where, ", "))
				}
			}
		}
	}
}

func TestCheckImport_seesEachKindOfMistake(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, from, to string
		allowed        []string
		inTest, ok     bool
	}{
		{name: "allowed", from: "driver", to: "internal/store", allowed: []string{"internal/store"}, ok: true},
		{name: "own external test", from: "driver", to: "driver", inTest: true, ok: true},
		{name: "upwards", from: "driver", to: "plugin", allowed: []string{"internal/store"}},
		{name: "upwards in a test", from: "driver", to: "plugin", inTest: true},
		{name: "test package", from: "ipam", to: "internal/store/memstore"},
		{name: "test package in a test", from: "ipam", to: "internal/store/memstore", inTest: true, ok: true},
		{name: "store in a test", from: "ipam", to: "internal/store/boltstore", inTest: true, ok: true},
		{name: "store", from: "ipam", to: "internal/store/boltstore"},
		{name: "test package from the top", from: "plugin", to: "internal/netnstest", allowed: []string{"*"}},
		{name: "lab from the top", from: "plugin", to: "test/lab", allowed: []string{"*"}},
		{name: "anything from the top", from: "plugin", to: "ipam", allowed: []string{"*"}, ok: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := checkImport(tc.from, tc.to, tc.allowed, tc.inTest); (got == "") != tc.ok {
				t.Errorf("checkImport(%s, %s) = %q, want ok = %t", tc.from, tc.to, got, tc.ok)
			}
		})
	}
}

// path returns the path of a file of the repository.
func path(elem ...string) string {
	return filepath.Join(append([]string{root}, elem...)...)
}
