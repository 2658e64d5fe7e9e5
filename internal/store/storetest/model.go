package storetest

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ournet/ournet/internal/store"
)

// testModel applies random transactions to the store and to a plain map.
func testModel(t *testing.T, kv store.KV) {
	rapid.Check(t, func(rt *rapid.T) {
		model := make(map[string]store.Pair)
		clearAll(t, kv)
		rt.Repeat(map[string]func(*rapid.T){
			"apply": func(rt *rapid.T) { applyBoth(t, rt, kv, model) },
			"": func(rt *rapid.T) {
				pairs, _, err := kv.List(within(t), "", 0)
				if err != nil {
					rt.Fatalf("List: %v", err)
				}
				keys := slices.Sorted(maps.Keys(model))
				if len(pairs) != len(keys) {
					rt.Fatalf("store has %v, model has %v", pairs, model)
				}
				for i, key := range keys {
					want := model[key]
					if pairs[i].Key != key || string(pairs[i].Value) != string(want.Value) || pairs[i].Index != want.Index {
						rt.Fatalf("store has %+v, model has %+v", pairs[i], want)
					}
				}
			},
		})
	})
}

func clearAll(t *testing.T, kv store.KV) {
	t.Helper()
	var ops []store.Op
	for key := range contents(t, kv, "") {
		ops = append(ops, store.Delete(key))
	}
	mustApply(t, kv, ops...)
}

func applyBoth(t *testing.T, rt *rapid.T, kv store.KV, model map[string]store.Pair) {
	keys := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "a/1", "a/2", "c"}), 1, 3, rapid.ID[string]).Draw(rt, "keys")
	var ops []store.Op
	holds := true
	for _, key := range keys {
		at := rapid.SampledFrom([]store.Index{0, model["a"].Index, model[key].Index, model[key].Index}).Draw(rt, "at")
		op := store.Op{
			Kind:  rapid.SampledFrom([]store.OpKind{store.OpSet, store.OpCAS, store.OpDelete, store.OpDeleteCAS, store.OpCheck}).Draw(rt, "kind"),
			Key:   key,
			Value: rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(rt, "value"),
			Index: at,
		}
		ops = append(ops, op)
		holds = holds && op.Holds(model[key].Index)
	}
	index, err := kv.Apply(within(t), ops...)
	if !holds {
		if !errors.Is(err, store.ErrConflict) {
			rt.Fatalf("Apply(%+v): %v, want ErrConflict", ops, err)
		}
		return
	}
	if err != nil {
		rt.Fatalf("Apply(%+v): %v", ops, err)
	}
	for _, op := range ops {
		switch op.Kind {
		case store.OpSet, store.OpCAS:
			model[op.Key] = store.Pair{Key: op.Key, Value: op.Value, Index: index}
		case store.OpDelete, store.OpDeleteCAS:
			delete(model, op.Key)
		case store.OpCheck:
		}
	}
}
