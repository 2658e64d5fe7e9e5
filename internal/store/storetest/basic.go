package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/internal/store"
)

func testGet(t *testing.T, kv store.KV) {
	if _, err := kv.Get(within(t), "a/1"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Get of a missing key: %v, want ErrNotFound", err)
	}
	index := mustApply(t, kv, store.Set("a/1", []byte("one")))
	want := store.Pair{Key: "a/1", Value: []byte("one"), Index: index}
	if diff := cmp.Diff(want, mustGet(t, kv, "a/1")); diff != "" {
		t.Errorf("Get (-want +got):\n%s", diff)
	}
}

func testOverwrite(t *testing.T, kv store.KV) {
	first := mustApply(t, kv, store.Set("k", []byte("1")))
	second := mustApply(t, kv, store.Set("k", []byte("2")))
	got := mustGet(t, kv, "k")
	if string(got.Value) != "2" || got.Index != second || second <= first {
		t.Errorf("after two sets at %d and %d: %+v", first, second, got)
	}
}

func testConditions(t *testing.T, kv store.KV) {
	old := mustApply(t, kv, store.Set("k", []byte("1")))
	now := mustApply(t, kv, store.Set("k", []byte("2")))
	for _, tc := range []struct {
		name     string
		op       store.Op
		conflict bool
	}{
		{"check of the current index", store.Check("k", now), false},
		{"check of an old index", store.Check("k", old), true},
		{"check that an existing key is absent", store.Check("k", 0), true},
		{"check that a missing key is absent", store.Check("none", 0), false},
		{"check that a missing key is at an index", store.Check("none", now), true},
		{"create over an existing key", store.CAS("k", []byte("x"), 0), true},
		{"cas at an old index", store.CAS("k", []byte("x"), old), true},
		{"cas of a missing key at an index", store.CAS("none", []byte("x"), now), true},
		{"delete at an old index", store.DeleteCAS("k", old), true},
		{"delete of a missing key at an index", store.DeleteCAS("none", now), true},
		{"create", store.CAS("new", []byte("n"), 0), false},
		{"cas at the current index", store.CAS("k", []byte("3"), now), false},
	} {
		_, err := kv.Apply(within(t), tc.op)
		if got := errors.Is(err, store.ErrConflict); got != tc.conflict || (err != nil && !got) {
			t.Errorf("%s: %v, want conflict %v", tc.name, err, tc.conflict)
		}
	}
	wantContents(t, kv, "", map[string]string{"k": "3", "new": "n"})
	mustApply(t, kv, store.DeleteCAS("k", mustGet(t, kv, "k").Index))
	wantContents(t, kv, "", map[string]string{"new": "n"})
}

func testAtomic(t *testing.T, kv store.KV) {
	at := mustApply(t, kv, store.Set("a", []byte("1")), store.Set("b", []byte("1")), store.Set("gone", nil))
	if mustGet(t, kv, "a").Index != at || mustGet(t, kv, "b").Index != at {
		t.Error("keys of one Apply have different indexes")
	}
	before := contents(t, kv, "")
	_, err := kv.Apply(within(t), store.Set("a", []byte("2")), store.Set("c", []byte("2")), store.Delete("gone"), store.CAS("b", []byte("2"), at+1000))
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("Apply with one failing condition: %v, want ErrConflict", err)
	}
	wantContents(t, kv, "", before)
	mustApply(t, kv, store.Set("a", []byte("3")), store.CAS("b", []byte("3"), at), store.CAS("c", []byte("3"), 0), store.Delete("gone"))
	wantContents(t, kv, "", map[string]string{"a": "3", "b": "3", "c": "3"})
}

func testDeleteMissing(t *testing.T, kv store.KV) {
	mustApply(t, kv, store.Delete("none"))
	mustApply(t, kv, store.Set("k", []byte("1")))
	mustApply(t, kv, store.Delete("k"))
	mustApply(t, kv, store.Delete("k"))
	wantContents(t, kv, "", map[string]string{})
	// A key that was deleted is absent in every respect.
	mustApply(t, kv, store.CAS("k", []byte("2"), 0))
	wantContents(t, kv, "", map[string]string{"k": "2"})
}

func testFoolish(t *testing.T, kv store.KV) {
	mustApply(t, kv, store.Set("k", []byte("1")))
	for _, tc := range []struct {
		name string
		ops  []store.Op
	}{
		{"empty key", []store.Op{store.Set("", []byte("x"))}},
		{"endless key", []store.Op{store.Set(strings.Repeat("k", 1<<16), nil)}},
		{"key twice", []store.Op{store.Set("k", []byte("2")), store.Delete("k")}},
		{"key that is no text", []store.Op{store.Set("k\xff", nil)}},
		{"key that cannot be printed", []store.Op{store.Set("k\x00", nil)}},
		{"key that begins with a slash", []store.Op{store.Set("/k", nil)}},
		{"key with an empty step", []store.Op{store.Set("a//b", nil)}},
		{"key that leads upwards", []store.Op{store.Set("a/../b", nil)}},
		{"key that ends in a space", []store.Op{store.Set("k ", nil)}},
		{"create for a lease", []store.Op{{Kind: store.OpCAS, Key: "n", Lease: "l"}}},
		{"unknown kind", []store.Op{{Kind: 99, Key: "k"}}},
	} {
		if _, err := kv.Apply(within(t), tc.ops...); err == nil || errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: %v, want an error that is no conflict", tc.name, err)
		}
	}
	if _, err := kv.Apply(within(t)); err != nil {
		t.Errorf("Apply of nothing: %v", err)
	}
	wantContents(t, kv, "", map[string]string{"k": "1"})
}

func testList(t *testing.T, kv store.KV) {
	for _, key := range []string{"b/2", "a/10", "a/9", "a", "a/", "a0", "b/", "\U0001f600", "a/\U0001f600", "A/1"} {
		mustApply(t, kv, store.Set(key, []byte(key)))
	}
	for _, tc := range []struct {
		prefix string
		want   []string
	}{
		{"a/", []string{"a/", "a/10", "a/9", "a/\U0001f600"}},
		{"a", []string{"a", "a/", "a/10", "a/9", "a/\U0001f600", "a0"}},
		{"b/2", []string{"b/2"}},
		{"c", nil},
		{"\U0001f600", []string{"\U0001f600"}},
		{"", []string{"A/1", "a", "a/", "a/10", "a/9", "a/\U0001f600", "a0", "b/", "b/2", "\U0001f600"}},
	} {
		pairs, index, err := kv.List(within(t), tc.prefix, 0)
		if err != nil {
			t.Fatalf("List(%q): %v", tc.prefix, err)
		}
		var keys []string
		for _, p := range pairs {
			keys = append(keys, p.Key)
			if string(p.Value) != p.Key || p.Index == 0 || p.Index > index {
				t.Errorf("List(%q) at %d: pair %+v", tc.prefix, index, p)
			}
		}
		if diff := cmp.Diff(tc.want, keys); diff != "" {
			t.Errorf("List(%q) (-want +got):\n%s", tc.prefix, diff)
		}
	}
}

func testIndexGrows(t *testing.T, kv store.KV) {
	var last store.Index
	for _, op := range []store.Op{
		store.Set("k", nil), store.Set("k", nil), store.Delete("k"), store.Set("k", nil), store.Set("l", nil), store.CAS("m", nil, 0),
	} {
		index := mustApply(t, kv, op)
		if index <= last {
			t.Errorf("index %d after %d", index, last)
		}
		_, listed, err := kv.List(within(t), "elsewhere/", 0)
		if err != nil || listed < index {
			t.Errorf("List says index %d after a write at %d (%v)", listed, index, err)
		}
		last = index
	}
}

func testAliasing(t *testing.T, kv store.KV) {
	value := []byte("original")
	mustApply(t, kv, store.Set("k", value))
	value[0] = 'X'
	got := mustGet(t, kv, "k")
	got.Value[1] = 'X'
	pairs, _, err := kv.List(within(t), "k", 0)
	if err != nil || len(pairs) != 1 {
		t.Fatalf("List: %v, %v", pairs, err)
	}
	pairs[0].Value[2] = 'X'
	_ = append(pairs[0].Value, "more"...)
	if got := string(mustGet(t, kv, "k").Value); got != "original" {
		t.Errorf("value became %q through a caller's slice", got)
	}
}

// testSize is what every implementation promises to take, with the bytes that
// take the most room in JSON.
func testSize(t *testing.T, kv store.KV) {
	var ops []store.Op
	want := make(map[string]string)
	for i := range 32 {
		value := strings.Repeat("\xff<", 4<<10)
		key := fmt.Sprintf("%02d/%s:%%2f?&=,;~é", i, strings.Repeat("k", 64))
		ops = append(ops, store.CAS(key, []byte(value), 0))
		want[key] = value
	}
	mustApply(t, kv, ops...)
	wantContents(t, kv, "", want)
	for key, value := range want {
		if got := mustGet(t, kv, key); string(got.Value) != value {
			t.Errorf("Get(%q) has %d bytes, want %d", key, len(got.Value), len(value))
		}
	}
}

func testEmptyValue(t *testing.T, kv store.KV) {
	mustApply(t, kv, store.Set("nil", nil), store.Set("empty", []byte{}))
	wantContents(t, kv, "", map[string]string{"nil": "", "empty": ""})
	if got := mustGet(t, kv, "nil"); got.Index == 0 || len(got.Value) != 0 {
		t.Errorf("Get of an empty value: %+v", got)
	}
}

func testEndedContext(t *testing.T, kv store.KV) {
	mustApply(t, kv, store.Set("k", []byte("1")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, getErr := kv.Get(ctx, "k")
	_, _, listErr := kv.List(ctx, "k", 0)
	_, applyErr := kv.Apply(ctx, store.Set("k", []byte("2")))
	for name, err := range map[string]error{"Get": getErr, "List": listErr, "Apply": applyErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", name, err)
		}
	}
	wantContents(t, kv, "", map[string]string{"k": "1"})
}
