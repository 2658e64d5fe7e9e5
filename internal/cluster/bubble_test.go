package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/internal/store"
)

// inBubble is a check that a bubble of synctest runs: rapid itself is outside, where
// time passes as it does.
type inBubble struct {
	*rapid.T

	ctx context.Context //nolint:containedctx // it is that of the bubble's test
	// story is what was done so far. What hosts do at the same time is not the same in
	// each run, so a failure has to tell itself how it came to be.
	story *[]string
}

func (b inBubble) tell(format string, args ...any) {
	*b.story = append(*b.story, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

// Context hides that of rapid, which a bubble cannot wait for.
func (b inBubble) Context() context.Context { return b.ctx }

// failure is what a check in a bubble fails with.
type failure string

// Fatalf ends the check.
func (b inBubble) Fatalf(format string, args ...any) {
	panic(failure(fmt.Sprintf(format, args...) + "\n\nwhat was done:\n" + strings.Join(*b.story, "\n")))
}

// Errorf ends the check, too.
func (b inBubble) Errorf(format string, args ...any) { b.Fatalf(format, args...) }

// check runs f in a bubble for a check of rapid.
func check(t *testing.T, rt *rapid.T, f func(rt inBubble)) {
	t.Helper()
	var failed any
	synctest.Test(t, func(t *testing.T) {
		defer func() { failed = recover() }()
		f(inBubble{T: rt, ctx: t.Context(), story: &[]string{}})
	})
	if f, ok := failed.(failure); ok {
		rt.Fatalf("%s", f)
	}
	if failed != nil {
		panic(failed) // it is rapid's, which stops the check
	}
}

// checkStore wants that the store has what is wanted and nothing that nobody needs.
func (w *world) checkStore(want map[cluster.NetworkID][]string) {
	pairs, _, err := w.shared.List(w.rt.Context(), store.EndpointsPrefix(), 0)
	w.must(err)
	n := 0
	for _, all := range want {
		n += len(all)
	}
	if len(pairs) != n {
		keys := make([]string, 0, len(pairs))
		for _, p := range pairs {
			keys = append(keys, p.Key)
		}
		w.rt.Fatalf("the store has %d members and endpoints, want %d:\n%s", len(pairs), n, strings.Join(keys, "\n"))
	}
	vnis, _, err := w.shared.List(w.rt.Context(), store.VNIsPrefix(), 0)
	w.must(err)
	records, _, err := w.shared.List(w.rt.Context(), store.NetworksPrefix(), 0)
	w.must(err)
	records = slices.DeleteFunc(records, func(p store.Pair) bool { _, remover, _ := store.SplitNetworkKey(p.Key); return remover != "" })
	if len(vnis) != len(records) {
		w.rt.Fatalf("the store has %d VNIs for %d networks", len(vnis), len(records))
	}
}
