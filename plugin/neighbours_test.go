package plugin

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
)

// isolated is what was to be isolated from last.
type isolated struct{ names []string }

func (i *isolated) SetEngineBridges(names []string) bool {
	news := !slices.Equal(names, i.names)
	i.names = names
	return news
}

// A container that starts right after the plugin did must not be reached from the
// engine's networks, which have not been asked for yet.
func TestEngineBridges_areKnownFromTheStart(t *testing.T) {
	t.Parallel()
	kv := &refusing{KV: memstore.New()}
	all := []string{"docker0", "named"}
	var first isolated
	b := engineBridges{kv: kv, isolator: &first}
	if err := b.load(t.Context()); err != nil || first.names != nil {
		t.Fatalf("load of nothing: %v, %v", first.names, err)
	}
	kv.err = errors.New("disk full")
	if news, err := b.set(t.Context(), all); !news || !errors.Is(err, kv.err) || !slices.Equal(first.names, all) {
		t.Errorf("without a store: news %t, %v, isolated from %q", news, err, first.names)
	}
	kv.err = nil
	for range 2 { // what could not be written is written again; what is equal is not
		if news, err := b.set(t.Context(), all); news || err != nil {
			t.Errorf("said again: news %t, %v", news, err)
		}
	}
	if kv.writes != 1 {
		t.Errorf("%d writes, want 1", kv.writes)
	}

	var next isolated
	b = engineBridges{kv: kv, isolator: &next}
	if err := b.load(t.Context()); err != nil || !slices.Equal(next.names, all) {
		t.Errorf("after a restart: isolated from %q, %v; want %q", next.names, err, all)
	}
	if news, err := b.set(t.Context(), all); news || err != nil || kv.writes != 1 {
		t.Errorf("the same after a restart: news %t, %v, %d writes in all", news, err, kv.writes)
	}
}

func TestEngineBridges_recordThatCannotBeReadIsReplaced(t *testing.T) {
	t.Parallel()
	for _, value := range []string{`{"Version":2,"Names":["x"]}`, `{}`, `garbage`} {
		kv := memstore.New()
		if _, err := kv.Apply(t.Context(), store.Set(store.LocalEngineBridgesKey(), []byte(value))); err != nil {
			t.Fatal(err)
		}
		var none, some isolated
		b := engineBridges{kv: kv, isolator: &none}
		if err := b.load(t.Context()); err == nil || none.names != nil {
			t.Errorf("%s: load = %v, isolated from %q; want an error", value, err, none.names)
		}
		if _, err := b.set(t.Context(), []string{"named"}); err != nil {
			t.Error(err)
		}
		b = engineBridges{kv: kv, isolator: &some}
		if err := b.load(t.Context()); err != nil || !slices.Equal(some.names, []string{"named"}) {
			t.Errorf("%s: then %v, isolated from %q", value, err, some.names)
		}
	}
}

// refusing is a store that may refuse writes.
type refusing struct {
	store.KV

	err    error
	writes int
}

func (r *refusing) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	if r.err != nil {
		return 0, r.err
	}
	r.writes++
	return r.KV.Apply(ctx, ops...)
}
