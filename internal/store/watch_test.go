package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
)

// notes is a watcher that writes down what it is told.
type notes struct{ told []string }

func (n *notes) See(pairs []store.Pair) {
	words := []string{"see"}
	for _, p := range pairs {
		words = append(words, fmt.Sprintf("%s=%s", p.Key, p.Value))
	}
	n.told = append(n.told, strings.Join(words, " "))
}

func (n *notes) Away(err error) { n.told = append(n.told, "away: "+err.Error()) }

var errGone = errors.New("gone")

// failing is a store whose lists fail while it is away.
type failing struct {
	*memstore.Store

	away  atomic.Bool
	asked atomic.Int64
}

func (f *failing) List(ctx context.Context, prefix string, after store.Index) ([]store.Pair, store.Index, error) {
	f.asked.Add(1)
	if f.away.Load() {
		return nil, 0, errGone
	}
	return f.Store.List(ctx, prefix, after)
}

func TestWatch_tellsOfChangesAndOutages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv, n := &failing{Store: memstore.New()}, &notes{}
		apply := func(ops ...store.Op) {
			t.Helper()
			if _, err := kv.Apply(t.Context(), ops...); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		apply(store.Set("a/1", []byte("1")), store.Set("b/1", nil))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- store.Watch(ctx, kv, "a/", n) }()
		synctest.Wait()
		apply(store.Set("a/2", []byte("2")))
		apply(store.Set("b/2", nil))
		kv.away.Store(true)
		apply(store.Delete("a/1")) // the wait that is out still sees it
		time.Sleep(time.Hour)      //nolint:forbidigo // time is the bubble's own
		synctest.Wait()
		outage := kv.asked.Load()
		kv.away.Store(false)
		time.Sleep(time.Minute) //nolint:forbidigo // time is the bubble's own
		synctest.Wait()
		apply(store.Set("a/3", []byte("3")))
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: %v", err)
		}
		want := []string{"see a/1=1", "see a/1=1 a/2=2", "see a/2=2", "away: gone", "see a/2=2", "see a/2=2 a/3=3"}
		if diff := cmp.Diff(want, n.told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		// At least every two seconds, and not in a hurry.
		if outage < 1800 || outage > 4000 {
			t.Errorf("the store was asked %d times in an hour of being away", outage)
		}
	})
}

func TestWatch_endsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv := &failing{Store: memstore.New()}
		kv.away.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := store.Watch(ctx, kv, "", &notes{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Watch: %v", err)
		}
	})
}
