package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"
	"unicode"
)

// format is how a list is written, as the docker client's --format says it
// (docs.docker.com/engine/cli/formatting).
type format struct {
	line    *template.Template
	table   bool
	headers map[string]string // titles by field; the list of fields as well
}

// parseFormat reads --format; "" and "table" mean the usual table.
func parseFormat(text, usual string, headers map[string]string) (format, error) {
	if text == "" || text == "table" {
		text = usual
	}
	line, isTable := strings.CutPrefix(text, "table ")
	if line == "json" {
		line = "{{json .}}"
	}
	// A shell's single quotes leave \t as it is.
	line = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(strings.Trim(line, " "))
	// missingkey is for the titles, which are a map.
	t, err := template.New("").Option("missingkey=error").Funcs(functions()).Parse(line)
	if err != nil {
		return format{}, fmt.Errorf("--format %q: %w", text, err)
	}
	return format{line: t, table: isTable, headers: headers}, nil
}

// write writes the list, or nothing if a line cannot be written.
func write[T any](to io.Writer, f format, list []T) error {
	var lines bytes.Buffer
	if f.table {
		titles, err := f.line.Clone()
		if err != nil {
			return fmt.Errorf("--format: %w", err)
		}
		if err := f.execute(titles.Funcs(titleFunctions()), &lines, f.headers); err != nil {
			return err
		}
	}
	for _, one := range list {
		if err := f.execute(f.line, &lines, one); err != nil {
			return err
		}
	}
	if !f.table {
		_, err := lines.WriteTo(to)
		return err
	}
	w := tabwriter.NewWriter(to, 10, 1, 3, ' ', 0)
	if _, err := lines.WriteTo(w); err != nil {
		return err
	}
	return w.Flush()
}

func (f format) execute(t *template.Template, to *bytes.Buffer, value any) error {
	if err := t.Execute(to, value); err != nil {
		return fmt.Errorf("--format: %w\nThe fields are .%s", err, strings.Join(slices.Sorted(maps.Keys(f.headers)), ", ."))
	}
	to.WriteByte('\n')
	return nil
}

// functions are those that the docker client has in templates.
func functions() template.FuncMap {
	return template.FuncMap{
		"json":     toJSON,
		"split":    strings.Split,
		"join":     strings.Join,
		"title":    title,
		"lower":    strings.ToLower,
		"upper":    strings.ToUpper,
		"pad":      pad,
		"truncate": func(s string, n int) string { return s[:min(len(s), max(n, 0))] },
	}
}

// titleFunctions leave the titles of columns as they are, but for their place.
func titleFunctions() template.FuncMap {
	same := func(s string) string { return s }
	return template.FuncMap{
		"json": same, "title": same, "lower": same, "upper": same,
		"split":    func(s, _ string) string { return s },
		"join":     func(s, _ string) string { return s },
		"truncate": func(s string, _ int) string { return s },
	}
}

func toJSON(value any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(value)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// title makes the first letter of each word a capital.
func title(s string) string {
	letters, before := []rune(s), ' '
	for i, r := range letters {
		if unicode.IsSpace(before) {
			letters[i] = unicode.ToTitle(r)
		}
		before = r
	}
	return string(letters)
}

// pad puts blanks before and after what is there.
func pad(s string, before, after int) string {
	if s == "" {
		return s
	}
	return strings.Repeat(" ", max(before, 0)) + s + strings.Repeat(" ", max(after, 0))
}
