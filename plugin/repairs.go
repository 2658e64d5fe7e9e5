package plugin

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// An equal repair is told separately until there were foldAfter within foldFor: several
// harms in a row have each a cause of its own. Of more there is a line every foldFor.
const (
	foldFor   = time.Minute
	foldAfter = 5
)

// repairs counts what had to be put right, by the kind of thing, and logs it.
type repairs struct {
	mu     sync.Mutex // guards the fields below
	byKind map[string]uint64
	// told has what was logged within [foldFor], by its text.
	told map[string]told
}

// told is how often a repair was logged since a time, how often it was made without
// being logged, and why last.
type told struct {
	since time.Time
	lines int
	more  uint64
	cause string
}

func newRepairs() *repairs {
	return &repairs{byKind: make(map[string]uint64), told: make(map[string]told)}
}

// report logs each repair, with what made us look, and counts it. The first word of
// its text is the kind: bridge, interface, device, nft, iptables-nft and so on.
//
// Of what repeats only the number is logged, or a program that flushes the packet
// filter all the time would fill the disk. Every sweep reports, if only nothing, so that
// no number stays untold.
func (r *repairs) report(log logrus.FieldLogger, cause string, did []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, what := range slices.Sorted(maps.Keys(r.told)) {
		switch t := r.told[what]; {
		case now.Sub(t.since) < foldFor:
		case t.more == 0:
			delete(r.told, what)
		default:
			log.WithFields(logrus.Fields{"cause": t.cause, "times": t.more}).Warn("repaired: " + what)
			r.told[what] = told{since: now, lines: foldAfter}
		}
	}
	for _, what := range did {
		kind, _, _ := strings.Cut(what, " ")
		r.byKind[kind]++
		t, again := r.told[what]
		if !again {
			t.since = now
		}
		if t.lines < foldAfter {
			t.lines++
			log.WithField("cause", cause).Warn("repaired: " + what)
		} else {
			t.more, t.cause = t.more+1, cause
		}
		r.told[what] = t
	}
}

func (r *repairs) snapshot() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.byKind)
}
