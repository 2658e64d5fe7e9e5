package archtest

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/config"
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// tableKeys returns the first column of the Markdown table below the heading,
// without its back quotes, sorted.
func tableKeys(t *testing.T, text, heading string) []string {
	t.Helper()
	_, section, ok := strings.Cut(text, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("there is no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var keys []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`=]+)").FindAllStringSubmatch(section, -1) {
		keys = append(keys, m[1])
	}
	slices.Sort(keys)
	return keys
}

func TestREADME_listsTheSettings(t *testing.T) {
	t.Parallel()
	want := config.Env()
	slices.Sort(want)
	if diff := cmp.Diff(want, tableKeys(t, readFile(t, "README.md"), "Settings")); diff != "" {
		t.Errorf("settings of README.md (-code +README):\n%s", diff)
	}
}

func TestREADME_listsTheNetworkOptions(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(driver.OptionKeys(), tableKeys(t, readFile(t, "README.md"), "Network options")); diff != "" {
		t.Errorf("network options of README.md (-code +README):\n%s", diff)
	}
}

func TestDocs_makeTargetsExist(t *testing.T) {
	t.Parallel()
	targets := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9.-]+):.*## `).FindAllStringSubmatch(readFile(t, "Makefile"), -1) {
		targets[m[1]] = true
	}
	for _, name := range documents(t) {
		for _, m := range regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z0-9.-]*)").FindAllStringSubmatch(readFile(t, name), -1) {
			if !targets[m[1]] {
				t.Errorf("%s tells of `make %s`, which is not in `make help`", name, m[1])
			}
		}
	}
}

func TestDocs_linksLeadSomewhere(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#]+)(?:#[^)]*)?\)`)
	for _, name := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(readFile(t, name), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(path(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// What docs/moby-tests.md names as ours is there. The first column has moby's names.
func TestDocs_mobyTestsNamesTestsThatExist(t *testing.T) {
	t.Parallel()
	ours := make(map[string]bool)
	for _, s := range sources(t) {
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasSuffix(s.path, "_test.go") {
				ours[f.Name.Name] = true
			}
		}
	}
	rows := 0
	for line := range strings.Lines(readFile(t, "docs/moby-tests.md")) {
		columns := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		rows++
		if len(columns) != 3 || !slices.Contains([]string{"yes", "partly", "no"}, columns[1]) {
			t.Errorf("docs/moby-tests.md: want three columns, the second yes, partly or no: %s", line)
			continue
		}
		named := regexp.MustCompile("`(Test[^`]*)`").FindAllStringSubmatch(columns[2], -1)
		if len(named) == 0 && columns[1] != "no" {
			t.Errorf("docs/moby-tests.md names no test of ours: %s", line)
		}
		for _, m := range named {
			if !ours[m[1]] {
				t.Errorf("docs/moby-tests.md names %s, which does not exist", m[1])
			}
		}
	}
	if rows == 0 {
		t.Error("docs/moby-tests.md has no table")
	}
}

// documents returns the paths of all Markdown files.
func documents(t *testing.T) []string {
	t.Helper()
	var names []string
	walk(t, func(name string) {
		if filepath.Ext(name) == ".md" {
			names = append(names, name)
		}
	})
	return names
}
