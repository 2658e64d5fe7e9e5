package consul

import (
	"sync"

	"github.com/ournet/ournet/internal/store"
)

// maxEmpty bounds what [empties] remember; what is forgotten costs a list for nothing.
const maxEmpty = 256

// empties are the prefixes that had no keys when they were last listed, and at which
// index that was.
type empties struct {
	mu sync.Mutex // guards at
	at map[string]store.Index
}

// note remembers what a caller was told.
func (e *empties) note(prefix string, index store.Index, pairs []store.Pair) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(pairs) > 0 {
		delete(e.at, prefix)
		return
	}
	if e.at == nil || len(e.at) >= maxEmpty {
		e.at = make(map[string]store.Index)
	}
	e.at[prefix] = index
}

// still reports whether a prefix had no keys at the index after, which the caller
// knows, and has none now.
func (e *empties) still(prefix string, after, now store.Index, pairs []store.Pair) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if at, known := e.at[prefix]; !known || at != after || len(pairs) > 0 {
		return false
	}
	e.at[prefix] = now
	return true
}
