package store

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxKey is the longest key in bytes that every implementation takes.
const maxKey = 4096

// CheckOps reports what no implementation may accept: a key that is none, a key
// that occurs twice, an unknown kind, or a lease where it has no meaning.
func CheckOps(ops []Op) error {
	seen := make(map[string]struct{}, len(ops))
	for _, op := range ops {
		if op.Key == "" || len(op.Key) > maxKey {
			return fmt.Errorf("apply: a key has 1 to %d bytes, not %d", maxKey, len(op.Key))
		}
		if err := checkKey(op.Key); err != nil {
			return fmt.Errorf("apply: key %q: %w", op.Key, err)
		}
		if _, twice := seen[op.Key]; twice {
			return fmt.Errorf("apply: key %q occurs twice", op.Key)
		}
		seen[op.Key] = struct{}{}
		if op.Kind < OpSet || op.Kind > OpCheck {
			return fmt.Errorf("apply: key %q: unknown kind of op %d", op.Key, op.Kind)
		}
		if op.Lease != "" && op.Kind != OpSet {
			return fmt.Errorf("apply: key %q: only a set can hold a key for a lease", op.Key)
		}
	}
	return nil
}

// checkKey refuses what a key loses on its way: Consul gets keys in JSON and in the
// path of a URL, which it cleans (agent/kvs_endpoint.go, KVSEndpoint) and where it
// takes no sign that cannot be printed (go-cleanhttp, PrintablePathCheckHandler).
func checkKey(key string) error {
	switch {
	case !utf8.ValidString(key) || strings.ContainsFunc(key, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("not printable text in UTF-8")
	case strings.TrimSpace(key) != key:
		return errors.New("space at an end")
	}
	// A key below another may end in a slash.
	if trimmed := strings.TrimSuffix(key, "/"); path.Clean(trimmed) != trimmed || strings.HasPrefix(key, "/") {
		return errors.New("a step is empty or made of dots")
	}
	return nil
}

// Holds reports whether the op's condition is met by a key that is at index at
// now; 0 means that the key does not exist. Unconditional ops always hold.
func (op Op) Holds(at Index) bool {
	switch op.Kind {
	case OpCAS, OpDeleteCAS, OpCheck:
		return op.Index == at
	case OpSet, OpDelete:
		return true
	default:
		return false
	}
}

// Writes reports whether the op changes a key that is at index at now. A delete
// of a missing key and a check change nothing.
func (op Op) Writes(at Index) bool {
	switch op.Kind {
	case OpSet, OpCAS:
		return true
	case OpDelete, OpDeleteCAS:
		return at != 0
	case OpCheck:
		return false
	default:
		return false
	}
}
