// Package storetest is the one contract suite of [store.KV] and [store.Leaser].
// Every implementation runs it, so that what works on one works on all.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/internal/store"
)

// patience bounds every step that should be instant; reaching it is a failure.
const patience = 30 * time.Second

// Run runs the suite. The function opens an empty store for one test, and closes
// it by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) store.KV) {
	t.Helper()
	for _, tc := range []struct {
		name string
		test func(t *testing.T, kv store.KV)
	}{
		{"get returns what was set", testGet},
		{"set overwrites", testOverwrite},
		{"conditions", testConditions},
		{"all ops or none", testAtomic},
		{"delete of a missing key is fine", testDeleteMissing},
		{"foolish ops are refused", testFoolish},
		{"list is ordered and bounded by the prefix", testList},
		{"index grows with every write", testIndexGrows},
		{"values are not shared with the caller", testAliasing},
		{"empty values are kept", testEmptyValue},
		{"32 ops and 256 KiB fit", testSize},
		{"an ended context is an error", testEndedContext},
		{"list waits for a change", testListWaits},
		{"list waits for the first change", testListWaitsEmpty},
		{"list wakes for a deletion", testListWakesForDeletion},
		{"list does not wake for another prefix", testListIgnoresOthers},
		{"list is bounded by its context", testListContext},
		{"list that is far behind returns at once", testListBehind},
		{"concurrent counters lose nothing", testCounter},
		{"concurrent creators: one wins", testOneCreator},
		{"watcher sees the last of a burst", testWatcher},
		{"model", testModel},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.test(t, open(t))
		})
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func mustApply(t *testing.T, kv store.KV, ops ...store.Op) store.Index {
	t.Helper()
	index, err := kv.Apply(within(t), ops...)
	if err != nil {
		t.Fatalf("Apply(%v): %v", ops, err)
	}
	return index
}

func mustGet(t *testing.T, kv store.KV, key string) store.Pair {
	t.Helper()
	pair, err := kv.Get(within(t), key)
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	return pair
}

// contents lists everything under prefix as text.
func contents(t *testing.T, kv store.KV, prefix string) map[string]string {
	t.Helper()
	pairs, _, err := kv.List(within(t), prefix, 0)
	if err != nil {
		t.Fatalf("List(%q): %v", prefix, err)
	}
	got := make(map[string]string, len(pairs))
	for _, p := range pairs {
		got[p.Key] = string(p.Value)
	}
	return got
}

func wantContents(t *testing.T, kv store.KV, prefix string, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, contents(t, kv, prefix)); diff != "" {
		t.Fatalf("contents under %q (-want +got):\n%s", prefix, diff)
	}
}
