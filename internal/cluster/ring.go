package cluster

import (
	"crypto/rand"
	"errors"
	"slices"
	"strings"
)

// fewChanges is how many changes a host's key names. Every host reads the keys of all
// hosts at each change of one, so few: whoever misses more lists what that host has.
const fewChanges = 4

// idHint is how many digits of an id a change names. What they are read with is the
// start of a key, so two ids that begin alike are both read.
const idHint = 8

// changedHost is the change of what a host says of itself.
const changedHost = "h"

// ring is what a host changed last.
type ring struct {
	// Epoch changes when the host says everything again: what is not named is to be
	// forgotten.
	Epoch string `json:"e"`
	// Count is how many changes there were in this epoch.
	Count uint64 `json:"n"`
	// Recent are the last of them: changedHost, the start of a network's id, or
	// those of a network's and an endpoint's with a slash between.
	Recent []string `json:"c,omitempty"`
}

func (r ring) check() error {
	if r.Epoch == "" || uint64(len(r.Recent)) > r.Count {
		return errors.New("not a list of changes")
	}
	return nil
}

// newEpoch returns the ring of a host that says everything again.
func newEpoch() ring { return ring{Epoch: strings.ToLower(rand.Text()[:8])} }

// add returns the ring with more changes. Of more at once than it can name it names
// none: whoever hears of them has missed some anyway.
func (r ring) add(changes ...string) ring {
	next := ring{Epoch: r.Epoch, Count: r.Count + uint64(len(changes))}
	if len(changes) <= fewChanges {
		next.Recent = slices.Concat(r.Recent, changes)
		next.Recent = next.Recent[max(0, len(next.Recent)-fewChanges):]
	}
	return next
}

// since returns the changes that whoever knows old has missed, or false if they are
// not known one by one.
func (r ring) since(old ring) ([]string, bool) {
	if r.Epoch != old.Epoch || r.Count < old.Count || r.Count-old.Count > uint64(len(r.Recent)) {
		return nil, false
	}
	return r.Recent[uint64(len(r.Recent))-(r.Count-old.Count):], true
}

// same reports whether both tell of the same.
func (r ring) same(o ring) bool { return r.Epoch == o.Epoch && r.Count == o.Count }

// hint is the part of an id that a change names.
func hint[ID ~string](id ID) string { return string(id[:min(len(id), idHint)]) }

func networkChange(n NetworkID) string { return hint(n) }

func endpointChange(n NetworkID, e EndpointID) string { return hint(n) + "/" + hint(e) }

// parseChange takes a change apart.
func parseChange(change string) (network, endpoint string) {
	network, endpoint, _ = strings.Cut(change, "/")
	return network, endpoint
}
