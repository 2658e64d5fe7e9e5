package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/store"
)

// LeaseStore is a store that hands out leases.
type LeaseStore interface {
	store.KV
	store.Leaser
}

// leaseTTL is long enough for a slow machine to keep a lease alive.
const leaseTTL = 30 * time.Second

// RunLeases runs the suite of leases. The function opens an empty store for one
// test, and closes it by t.Cleanup.
func RunLeases(t *testing.T, open func(t *testing.T) LeaseStore) {
	t.Helper()
	for _, tc := range []struct {
		name string
		test func(t *testing.T, s LeaseStore)
	}{
		{"foolish leases are refused", testFoolishLease},
		{"hold makes the lease the holder", testHold},
		{"a holder keeps others out", testHoldConflict},
		{"other ops leave the holder", testHolderStays},
		{"a deletion ends the holding", testDeleteHeld},
		{"hold is one op of a transaction", testHoldAtomic},
		{"a lease that is not known holds nothing", testUnknownLease},
		{"end releases", testEndReleases},
		{"end removes", testEndRemoves},
		{"end touches nothing else", testEndTouchesNothingElse},
		{"a revoked lease is lost", testRevoke},
		{"end may come twice", testEndTwice},
		{"an ended context is an error of leases", testLeaseContext},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.test(t, open(t))
		})
	}
}

func mustLease(t *testing.T, s LeaseStore, onLoss store.OnLoss) store.Lease {
	t.Helper()
	lease, err := s.Lease(within(t), store.LeaseOptions{Name: t.Name(), TTL: leaseTTL, OnLoss: onLoss})
	if err != nil {
		t.Fatalf("Lease: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := lease.End(ctx); err != nil {
			t.Errorf("End: %v", err)
		}
	})
	return lease
}

func mustEnd(t *testing.T, lease store.Lease) {
	t.Helper()
	if err := lease.End(within(t)); err != nil {
		t.Fatalf("End: %v", err)
	}
	wantLost(t, lease)
}

func wantLost(t *testing.T, lease store.Lease) {
	t.Helper()
	select {
	case <-lease.Done():
	case <-within(t).Done():
		t.Fatal("the lease was not lost")
	}
}

func wantAlive(t *testing.T, lease store.Lease) {
	t.Helper()
	select {
	case <-lease.Done():
		t.Fatal("the lease was lost")
	default:
	}
}

func wantHolder(t *testing.T, s LeaseStore, key, value, holder string) store.Pair {
	t.Helper()
	pair := mustGet(t, s, key)
	if string(pair.Value) != value || pair.Lease != holder {
		t.Fatalf("key %q is %q, held by %q; want %q, held by %q", key, pair.Value, pair.Lease, value, holder)
	}
	pairs, _, err := s.List(within(t), key, 0)
	if err != nil || len(pairs) != 1 || pairs[0].Lease != holder {
		t.Fatalf("List(%q) = %+v, %v; want one that %q holds", key, pairs, err, holder)
	}
	return pair
}

func testFoolishLease(t *testing.T, s LeaseStore) {
	for _, opts := range []store.LeaseOptions{{}, {TTL: -1}, {TTL: time.Minute, OnLoss: 9}} {
		if _, err := s.Lease(within(t), opts); err == nil {
			t.Errorf("Lease(%+v) was given", opts)
		}
	}
}

func testHold(t *testing.T, s LeaseStore) {
	lease := mustLease(t, s, store.Release)
	if lease.ID() == "" {
		t.Fatal("the lease has no id")
	}
	first := mustApply(t, s, store.Hold("k", []byte("1"), lease.ID()))
	if got := wantHolder(t, s, "k", "1", lease.ID()); got.Index != first {
		t.Errorf("index is %d, want %d", got.Index, first)
	}
	// The holder may hold again, with the same value too.
	second := mustApply(t, s, store.Hold("k", []byte("1"), lease.ID()))
	if got := wantHolder(t, s, "k", "1", lease.ID()); got.Index != second || second <= first {
		t.Errorf("index is %d, want %d, more than %d", got.Index, second, first)
	}
	wantAlive(t, lease)
}

func testHoldConflict(t *testing.T, s LeaseStore) {
	one, two := mustLease(t, s, store.Release), mustLease(t, s, store.Release)
	if one.ID() == two.ID() {
		t.Fatal("two leases have one id")
	}
	mustApply(t, s, store.Hold("k", []byte("1"), one.ID()))
	if _, err := s.Apply(within(t), store.Hold("k", []byte("2"), two.ID())); !errors.Is(err, store.ErrConflict) {
		t.Errorf("Hold of another's key: %v, want ErrConflict", err)
	}
	wantHolder(t, s, "k", "1", one.ID())
	mustEnd(t, one)
	mustApply(t, s, store.Hold("k", []byte("2"), two.ID()))
	wantHolder(t, s, "k", "2", two.ID())
}

func testHolderStays(t *testing.T, s LeaseStore) {
	lease := mustLease(t, s, store.Release)
	mustApply(t, s, store.Set("k", []byte("0")))
	mustApply(t, s, store.Hold("k", []byte("1"), lease.ID()))
	at := mustApply(t, s, store.Set("k", []byte("2")))
	wantHolder(t, s, "k", "2", lease.ID())
	mustApply(t, s, store.CAS("k", []byte("3"), at))
	wantHolder(t, s, "k", "3", lease.ID())
}

func testDeleteHeld(t *testing.T, s LeaseStore) {
	one, two := mustLease(t, s, store.Remove), mustLease(t, s, store.Release)
	mustApply(t, s, store.Hold("k", []byte("1"), one.ID()))
	mustApply(t, s, store.Delete("k"))
	mustApply(t, s, store.Set("k", []byte("2")))
	wantHolder(t, s, "k", "2", "")
	mustApply(t, s, store.Hold("k", []byte("3"), two.ID()))
	mustEnd(t, one)
	wantHolder(t, s, "k", "3", two.ID())
}

func testHoldAtomic(t *testing.T, s LeaseStore) {
	lease := mustLease(t, s, store.Release)
	at := mustApply(t, s, store.Set("a", []byte("1")))
	_, err := s.Apply(within(t), store.Hold("k", []byte("1"), lease.ID()), store.CAS("a", []byte("2"), at+1000))
	if !errors.Is(err, store.ErrConflict) {
		t.Errorf("Apply: %v, want ErrConflict", err)
	}
	wantContents(t, s, "", map[string]string{"a": "1"})
	index := mustApply(t, s, store.Hold("k", []byte("1"), lease.ID()), store.CAS("a", []byte("2"), at))
	if got := mustGet(t, s, "a"); got.Index != index || got.Lease != "" {
		t.Errorf("beside a hold at %d: %+v", index, got)
	}
	wantHolder(t, s, "k", "1", lease.ID())
}

func testUnknownLease(t *testing.T, s LeaseStore) {
	lease := mustLease(t, s, store.Release)
	mustEnd(t, lease)
	for name, id := range map[string]string{"ended": lease.ID(), "never given": "11111111-2222-3333-4444-555555555555"} {
		_, err := s.Apply(within(t), store.Set("a", nil), store.Hold("k", []byte("1"), id))
		if !errors.Is(err, store.ErrLeaseLost) || errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: %v, want ErrLeaseLost", name, err)
		}
		if err := s.Revoke(within(t), id); err != nil {
			t.Errorf("%s: Revoke: %v", name, err)
		}
	}
	wantContents(t, s, "", map[string]string{})
}

func testEndReleases(t *testing.T, s LeaseStore) {
	lease := mustLease(t, s, store.Release)
	at := mustApply(t, s, store.Hold("a/1", []byte("1"), lease.ID()), store.Hold("a/2", []byte("2"), lease.ID()))
	ch := listLater(within(t), s, "a/", at)
	wantWaiting(t, ch)
	mustEnd(t, lease)
	a := <-ch
	if a.err != nil || a.index <= at || len(a.pairs) != 2 {
		t.Fatalf("List after the end: %+v", a)
	}
	if got := wantHolder(t, s, "a/1", "1", ""); got.Index <= at {
		t.Errorf("released at %d, after %d", got.Index, at)
	}
	wantHolder(t, s, "a/2", "2", "")
}

func testEndRemoves(t *testing.T, s LeaseStore) {
	lease := mustLease(t, s, store.Remove)
	at := mustApply(t, s, store.Hold("a/1", []byte("1"), lease.ID()), store.Hold("a/2", []byte("2"), lease.ID()))
	ch := listLater(within(t), s, "a/", at)
	wantWaiting(t, ch)
	mustEnd(t, lease)
	if a := <-ch; a.err != nil || a.index <= at {
		t.Fatalf("List after the end: %+v", a)
	}
	wantContents(t, s, "", map[string]string{})
	mustApply(t, s, store.CAS("a/1", []byte("new"), 0))
}

func testEndTouchesNothingElse(t *testing.T, s LeaseStore) {
	one, two := mustLease(t, s, store.Remove), mustLease(t, s, store.Release)
	mustApply(t, s, store.Hold("one", []byte("1"), one.ID()), store.Hold("two", []byte("2"), two.ID()), store.Set("three", []byte("3")))
	mustEnd(t, one)
	wantHolder(t, s, "two", "2", two.ID())
	wantHolder(t, s, "three", "3", "")
	wantContents(t, s, "", map[string]string{"two": "2", "three": "3"})
	wantAlive(t, two)
}

func testRevoke(t *testing.T, s LeaseStore) {
	lease := mustLease(t, s, store.Release)
	mustApply(t, s, store.Hold("k", []byte("1"), lease.ID()))
	if err := s.Revoke(within(t), lease.ID()); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	wantLost(t, lease)
	wantHolder(t, s, "k", "1", "")
	// The holder takes a new one and holds its key again.
	again := mustLease(t, s, store.Release)
	mustApply(t, s, store.Hold("k", []byte("2"), again.ID()))
	mustEnd(t, lease)
	wantHolder(t, s, "k", "2", again.ID())
}

func testEndTwice(t *testing.T, s LeaseStore) {
	lease := mustLease(t, s, store.Release)
	mustEnd(t, lease)
	mustEnd(t, lease)
}

func testLeaseContext(t *testing.T, s LeaseStore) {
	lease := mustLease(t, s, store.Release)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, leaseErr := s.Lease(ctx, store.LeaseOptions{TTL: leaseTTL})
	for name, err := range map[string]error{"Lease": leaseErr, "Revoke": s.Revoke(ctx, lease.ID()), "End": lease.End(ctx)} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", name, err)
		}
	}
	wantAlive(t, lease)
}
