package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	maxFileLines     = 400
	maxFunctionLines = 60
)

// longFiles may be longer than [maxFileLines]: by path, the reason why.
func longFiles() map[string]string { return map[string]string{} }

// source is one Go file of the module, parsed.
type source struct {
	path string // in the repository
	set  *token.FileSet
	file *ast.File
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

func (s source) line(p token.Pos) int { return s.set.Position(p).Line }

// walk calls visit for every file of the repository that is in git or could be.
func walk(t *testing.T, visit func(name string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch rel {
			case ".git", ".cache", "build":
				return filepath.SkipDir
			}
			return nil
		}
		visit(rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	walk(t, func(name string) {
		if filepath.Ext(name) != ".go" {
			return
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path(name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, source{path: name, set: set, file: file})
	})
	if len(all) == 0 {
		t.Fatal("there is no Go file")
	}
	return all
}

func TestSource_filesAreShort(t *testing.T) {
	t.Parallel()
	allowed := longFiles()
	for _, s := range sources(t) {
		lines := s.line(s.file.FileEnd)
		if _, ok := allowed[s.path]; lines > maxFileLines && !ok {
			t.Errorf("%s has %d lines, more than %d: cut it, or say in longFiles why not", s.path, lines, maxFileLines)
		}
	}
}

func TestSource_functionsAreShort(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || s.isTest() {
				continue
			}
			if lines := s.line(f.End()) - s.line(f.Pos()) + 1; lines > maxFunctionLines {
				t.Errorf("%s:%d: %s has %d lines, more than %d", s.path, s.line(f.Pos()), f.Name.Name, lines, maxFunctionLines)
			}
		}
	}
}

// Whoever changes a package variable changes it for all tests and all instances;
// errors that callers compare with, patterns, embedded files and checks of the
// compiler never change.
func TestSource_noPackageVariables(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		for _, d := range s.file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR || isEmbedded(g) {
				continue
			}
			for _, spec := range g.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok && !isConstant(v) {
					t.Errorf("%s:%d: package variable %s", s.path, s.line(v.Pos()), v.Names[0].Name)
				}
			}
		}
	}
}

func isEmbedded(g *ast.GenDecl) bool {
	return g.Doc != nil && slices.ContainsFunc(g.Doc.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, "//go:embed ")
	})
}

// isConstant reports whether v is an error to compare with, a pattern, or a check
// that a type has the methods of an interface.
func isConstant(v *ast.ValueSpec) bool {
	name := v.Names[0].Name
	if name == "_" || strings.HasPrefix(name, "Err") || strings.HasPrefix(name, "err") {
		return true
	}
	if len(v.Values) != 1 {
		return false
	}
	call, ok := v.Values[0].(*ast.CallExpr)
	if !ok {
		return false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	return ok && f.Sel.Name == "MustCompile"
}

// A test that skips itself is green where it should be red.
func TestSource_noTestIsSkipped(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch f.Sel.Name {
			case "Skip", "Skipf", "SkipNow":
				if x, ok := f.X.(*ast.Ident); ok && (x.Name == "t" || x.Name == "b" || x.Name == "f" || x.Name == "tb") {
					t.Errorf("%s:%d: a test is skipped", s.path, s.line(call.Pos()))
				}
			}
			return true
		})
	}
}

func TestSource_whatIsToDoHasAnIssue(t *testing.T) {
	t.Parallel()
	// The marks are put together here so that this file does not have them.
	mark := regexp.MustCompile(`\b(` + "TO" + "DO|FIX" + "ME|X" + `XX)\b`)
	numbered := regexp.MustCompile(`#\d+`)
	for _, s := range sources(t) {
		for _, g := range s.file.Comments {
			for _, c := range g.List {
				if mark.MatchString(c.Text) && !numbered.MatchString(c.Text) {
					t.Errorf("%s:%d: no issue number: %s", s.path, s.line(c.Pos()), c.Text)
				}
			}
		}
	}
}

func TestSource_packageNamesAreNouns(t *testing.T) {
	t.Parallel()
	empty := map[string]bool{"util": true, "utils": true, "common": true, "helper": true, "helpers": true, "misc": true, "types": true}
	for _, s := range sources(t) {
		base := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(s.path), ".go"), "_test")
		if empty[s.file.Name.Name] || empty[base] {
			t.Errorf("%s: a name that says nothing", s.path)
		}
	}
}
