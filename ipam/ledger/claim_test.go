package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
	"github.com/ournet/ournet/ipam/ledger"
)

func asked() netip.Addr { return netip.MustParseAddr("10.1.0.9") }

// claimOf is what a host asks of h1, and where it is written.
func claimOf(t *testing.T, host, refused string) (key string, value []byte) {
	t.Helper()
	value, err := json.Marshal(ledger.Claim{Version: 1, From: host, Subnet: subnet(), Addr: asked(), Refused: refused})
	if err != nil {
		t.Fatal(err)
	}
	return store.ClaimKey("h1", subnet().String(), asked().String()), value
}

// What was refused to a host that has crashed since is in nobody's way.
func TestAsk_whatWasRefusedToAHostThatIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv := memstore.New()
		h1, h2 := ledger.New(kv, "h1", time.Now), ledger.New(kv, "h2", time.Now)
		key, value := claimOf(t, "h3", "it is in use by web")
		if _, err := kv.Apply(t.Context(), store.Set(key, value)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		answered := make(chan error, 1)
		go func() {
			answered <- h1.Answer(ctx, ledger.Answerer{
				Asked: func(q ledger.Asked) {
					if err := h1.Refuse(ctx, q, "it is in use by db"); err != nil {
						t.Error(err)
					}
				},
				Back: func() {}, Away: func(err error) { t.Error(err) },
			})
		}()
		var refused *ledger.RefusedError
		if err := h2.Ask(t.Context(), "h1", subnet(), asked()); !errors.As(err, &refused) || refused.Why != "it is in use by db" {
			t.Errorf("Ask = %v", err)
		}
		if _, err := kv.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the claim is still there: %v", err)
		}
		cancel()
		if err := <-answered; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// taker has another host ask as well, as soon as nobody asks.
type taker struct {
	store.KV

	value []byte
}

// Get implements [store.KV].
func (k *taker) Get(ctx context.Context, key string) (store.Pair, error) {
	if _, err := k.Apply(ctx, store.Set(key, k.value)); err != nil {
		return store.Pair{}, err
	}
	return k.KV.Get(ctx, key)
}

// Who has no answer lets others ask on.
func TestAsk_clearsAwayOnlyItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		key, value := claimOf(t, "h3", "")
		kv := &taker{KV: memstore.New(), value: value}
		var none *ledger.NoAnswerError
		if err := ledger.New(kv, "h2", time.Now).Ask(t.Context(), "h1", subnet(), asked()); !errors.As(err, &none) || errors.Is(err, store.ErrConflict) {
			t.Errorf("Ask = %v", err)
		}
		if pair, err := kv.KV.Get(t.Context(), key); err != nil || string(pair.Value) != string(value) {
			t.Errorf("what the other host asks is %s: %v", pair.Value, err)
		}
	})
}
