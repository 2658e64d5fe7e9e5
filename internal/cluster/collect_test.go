package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
)

// Notes of networks that were removed everywhere go when they are a month old, unless
// a host still has a part in the network.
func TestRun_purgesOldNotes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		shared := memstore.New()
		for n, age := range map[int]time.Duration{1: 28 * day, 2: 30 * day, 3: 30 * day} {
			note := fmt.Appendf(nil, `{"v":1,"r":{"generation":1,"at":%q}}`, time.Now().Add(-age).Format(time.RFC3339))
			if _, err := shared.Apply(t.Context(), store.Set(store.CollectedKey(id(n)), note)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := shared.Apply(t.Context(), store.Set(store.MemberKey(id(3), "00112233445566ff"), []byte(`{"v":1,"r":{"generation":1}}`))); err != nil {
			t.Fatal(err)
		}
		a := newHost(t, 1, shared).start()
		defer a.stop()
		notes := func() (have [4]bool) {
			pairs, _, err := shared.List(t.Context(), store.CollectedPrefix(), 0)
			if err != nil {
				t.Fatal(err)
			}
			for n := range have {
				for _, p := range pairs {
					have[n] = have[n] || p.Key == store.CollectedKey(id(n))
				}
			}
			return have
		}
		quiet(day)
		if have := notes(); have != [4]bool{1: true, 3: true} {
			t.Errorf("after a day there are the notes %v, want those of networks 1 and 3", have)
		}
		quiet(2 * day)
		if have := notes(); have != [4]bool{3: true} {
			t.Errorf("after three days there are the notes %v, want that of network 3", have)
		}
	})
}

// tardy is a store whose hosts collect networks as those do that listed the removals
// just before one was said.
type tardy struct{ *memstore.Store }

func (s tardy) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	if slices.ContainsFunc(ops, func(op store.Op) bool { return strings.HasPrefix(op.Key, store.CollectedPrefix()) }) {
		ops = slices.DeleteFunc(slices.Clone(ops), func(op store.Op) bool {
			_, remover, _ := store.SplitNetworkKey(op.Key)
			return remover != ""
		})
	}
	return s.Store.Apply(ctx, ops...)
}

// A removal that its collector did not see goes with the host that said it, and at
// once.
func TestLeaveNetwork_removalSaidWhileCollectedIsTakenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := tardy{memstore.New()}
		a := newHost(t, 1, shared).start()
		defer a.stop()
		quiet(5 * time.Second)
		// By chance the host may look at what it said just then.
		for i := range 10 {
			n := a.join(spec(i+1, "10.1.0.0/24"))
			if err := a.LeaveNetwork(t.Context(), n.ID, true); err != nil {
				t.Fatal(err)
			}
			quiet(4 * time.Second)
			pairs, _, err := shared.List(t.Context(), store.NetworksPrefix(), 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range pairs {
				t.Errorf("%s is left", p.Key)
			}
		}
	})
}
