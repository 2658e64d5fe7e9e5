package cluster

import (
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/store"
)

// listingKind is which prefix was listed.
type listingKind int

// The prefixes that are waited for.
const (
	listedChanges listingKind = iota
	listedNetworks
	listedAlive
)

// listing is what is under a prefix now.
type listing struct {
	pairs []store.Pair
	// fresh says that the store was away before it, or was not asked before.
	fresh bool
}

// inbox has the last listing of each prefix that the feed has not taken yet.
type inbox struct {
	signal chan struct{}

	mu       sync.Mutex // guards all below
	listings map[listingKind]listing
	away     map[listingKind]bool
	leaving  []NetworkID // networks that this host left
}

func newInbox() *inbox {
	return &inbox{
		signal:   make(chan struct{}, 1),
		listings: make(map[listingKind]listing),
		away:     map[listingKind]bool{listedChanges: true, listedNetworks: true, listedAlive: true},
	}
}

// poke makes the feed look at what is to be done.
func (in *inbox) poke() {
	select {
	case in.signal <- struct{}{}:
	default:
	}
}

// left notes a network that this host left.
func (in *inbox) left(id NetworkID) {
	in.mu.Lock()
	in.leaving = append(in.leaving, id)
	in.mu.Unlock()
	in.poke()
}

func (in *inbox) put(kind listingKind, pairs []store.Pair) {
	in.mu.Lock()
	back := in.away[kind]
	in.listings[kind] = listing{pairs: pairs, fresh: back || in.listings[kind].fresh}
	in.away[kind] = false
	in.mu.Unlock()
	in.poke()
}

func (in *inbox) take() (map[listingKind]listing, []NetworkID) {
	in.mu.Lock()
	defer in.mu.Unlock()
	listings, left := in.listings, in.leaving
	in.listings, in.leaving = make(map[listingKind]listing), nil
	return listings, left
}

// isAway reports whether a prefix cannot be listed at present.
func (in *inbox) isAway(kind listingKind) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.away[kind]
}

// watcher puts the listings of one prefix in the inbox.
type watcher struct {
	log  logrus.FieldLogger
	in   *inbox
	kind listingKind
	told bool // that the store is away
}

// See implements [store.Watcher].
func (w *watcher) See(pairs []store.Pair) {
	w.in.put(w.kind, pairs)
	if w.told {
		w.told = false
		w.log.Info("the cluster store is back")
	}
}

// Away implements [store.Watcher]. One of the watchers speaks for all.
func (w *watcher) Away(err error) {
	w.in.mu.Lock()
	w.in.away[w.kind] = true
	w.in.mu.Unlock()
	if w.kind == listedChanges {
		w.told = true
		w.log.WithField("err", err).Warn("the cluster store is away: what is known of other hosts stays as it is")
	}
}
