package plugin

import (
	"maps"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"
)

// repairs counts what had to be put right, by the kind of thing.
type repairs struct {
	mu     sync.Mutex // guards byKind
	byKind map[string]uint64
}

func newRepairs() *repairs { return &repairs{byKind: make(map[string]uint64)} }

// report logs each repair, with what made us look, and counts it. The first word of
// its text is the kind: bridge, interface, device, nft, iptables-nft and so on.
func (r *repairs) report(log logrus.FieldLogger, cause string, did []string) {
	r.mu.Lock()
	for _, what := range did {
		kind, _, _ := strings.Cut(what, " ")
		r.byKind[kind]++
	}
	r.mu.Unlock()
	for _, what := range did {
		log.WithField("cause", cause).Warn("repaired: " + what)
	}
}

func (r *repairs) snapshot() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.byKind)
}
