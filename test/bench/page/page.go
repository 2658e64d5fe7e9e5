// Package page is how a benchmark tells what it does and writes down what it found. It
// does not know what was measured.
package page

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Progress tells whoever waits what is being measured.
func Progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "    "+format+"\n", args...) }

// Write puts results into the folder as NAME.json, and markdown, which shows them, as
// NAME.md; and a copy of the latter at page, unless that is empty.
func Write(folder, name, page string, results any, markdown string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make the results' folder: %w", err)
	}
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	files := map[string][]byte{
		filepath.Join(folder, name+".json"): append(text, '\n'),
		filepath.Join(folder, name+".md"):   []byte(markdown),
	}
	if page != "" {
		files[page] = []byte(markdown)
	}
	for file, text := range files {
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return fmt.Errorf("write the results: %w", err)
		}
	}
	return nil
}
