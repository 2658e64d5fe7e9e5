package store

import "fmt"

// maxKey is the longest key in bytes that every implementation takes.
const maxKey = 4096

// CheckOps reports what no implementation may accept: an empty or over-long key,
// a key that occurs twice, or an unknown kind.
func CheckOps(ops []Op) error {
	seen := make(map[string]struct{}, len(ops))
	for _, op := range ops {
		if op.Key == "" || len(op.Key) > maxKey {
			return fmt.Errorf("apply: a key has 1 to %d bytes, not %d", maxKey, len(op.Key))
		}
		if _, twice := seen[op.Key]; twice {
			return fmt.Errorf("apply: key %q occurs twice", op.Key)
		}
		seen[op.Key] = struct{}{}
		if op.Kind < OpSet || op.Kind > OpCheck {
			return fmt.Errorf("apply: key %q: unknown kind of op %d", op.Key, op.Kind)
		}
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
