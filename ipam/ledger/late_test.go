package ledger_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/addrset"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
	"github.com/ournet/ournet/ipam/ledger"
)

// slow is a store whose next write is under way for as long as the test wants.
type slow struct {
	store.KV

	next bool
	late []store.Op
}

// Apply implements [store.KV].
func (s *slow) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	if s.next {
		s.next, s.late = false, ops
		return 0, store.ErrUncertain
	}
	return s.KV.Apply(ctx, ops...)
}

// arrive does the write that was under way.
func (s *slow) arrive(t *testing.T) error {
	t.Helper()
	_, err := s.KV.Apply(t.Context(), s.late...)
	return err
}

func subnet() netip.Prefix { return netip.MustParsePrefix("10.1.0.0/24") }

func dynamic() addrset.Range {
	return addrset.Range{First: netip.MustParseAddr("10.1.0.1"), Last: netip.MustParseAddr("10.1.0.254")}
}

// member returns the ledger of a host that has the pool.
func member(t *testing.T, kv store.KV, host string) *ledger.Ledger {
	t.Helper()
	l := ledger.New(kv, host, time.Now)
	join(t, l)
	return l
}

func join(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	if _, err := l.Join(t.Context(), false, func([]netip.Prefix) (ledger.Pool, error) {
		return ledger.Pool{Subnet: subnet()}, nil
	}); err != nil {
		t.Fatal(err)
	}
}

func take(t *testing.T, l *ledger.Ledger, have ledger.Holdings) ledger.Holdings {
	t.Helper()
	got, _, err := l.Take(t.Context(), subnet(), dynamic(), have)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A host gives an address up, the answer is lost, the address is found to be its own
// still, and then the write arrives.
func TestTake_aWriteThatComesLateTakesNothingAway(t *testing.T) {
	t.Parallel()
	kv := &slow{KV: memstore.New()}
	a, b := member(t, kv, "a"), member(t, kv, "b")
	have := take(t, a, nil)
	base := subnet().Addr()
	lost, _ := have[base].First(base)
	kv.next = true
	if _, err := a.Give(t.Context(), subnet(), base, ledger.Only(lost), ""); !errors.Is(err, store.ErrUncertain) {
		t.Fatal(err)
	}
	have.Remove(base, ledger.Only(lost))
	// Nothing is left beside it, so that the shard would not be written otherwise.
	got, _, err := a.Take(t.Context(), subnet(), addrset.Range{First: lost, Last: lost}, have)
	if err != nil || !got.Has(lost) {
		t.Fatalf("%s, which is its own, was not found: %v, %v", lost, got, err)
	}
	if err := kv.arrive(t); !errors.Is(err, store.ErrConflict) {
		t.Errorf("the late write: %v", err)
	}
	if got := take(t, b, nil); got.Has(lost) {
		t.Errorf("%s has two hosts", lost)
	}
}

// A pool that is just made when its maker gives up does not come into being later.
func TestVacate_aPoolThatComesLateDoesNotStay(t *testing.T) {
	t.Parallel()
	kv := &slow{KV: memstore.New()}
	a := ledger.New(kv, "a", time.Now)
	kv.next = true
	_, err := a.Join(t.Context(), false, func([]netip.Prefix) (ledger.Pool, error) { return ledger.Pool{Subnet: subnet()}, nil })
	if !errors.Is(err, store.ErrUncertain) {
		t.Fatal(err)
	}
	if err := a.Vacate(t.Context(), subnet(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := kv.arrive(t); !errors.Is(err, store.ErrConflict) {
		t.Errorf("the late write: %v", err)
	}
}

// Of two hosts that make overlapping pools at once, one begins again.
func TestJoin_seesWhatIsMadeMeanwhile(t *testing.T) {
	t.Parallel()
	kv := memstore.New()
	a, b := ledger.New(kv, "a", time.Now), ledger.New(kv, "b", time.Now)
	calls := 0
	_, err := a.Join(t.Context(), false, func([]netip.Prefix) (ledger.Pool, error) {
		if calls++; calls == 1 {
			join(t, b)
		}
		return ledger.Pool{Subnet: netip.MustParsePrefix("10.1.0.128/25")}, nil
	})
	if !errors.Is(err, ledger.ErrOverlap) || calls != 2 {
		t.Errorf("Join after %d calls: %v", calls, err)
	}
}

func TestVacate_whoLeavesGetsNothingMore(t *testing.T) {
	t.Parallel()
	kv := memstore.New()
	a, b := member(t, kv, "a"), member(t, kv, "b")
	have := take(t, a, nil)
	if err := b.Vacate(t.Context(), subnet(), "a"); err != nil {
		t.Fatal(err)
	}
	if got, _, err := a.Take(t.Context(), subnet(), dynamic(), have); !errors.Is(err, ledger.ErrNotMember) {
		t.Errorf("Take = %v, %v", got, err)
	}
	if err := a.TakeAddr(t.Context(), subnet(), netip.MustParseAddr("10.1.0.200"), have); !errors.Is(err, ledger.ErrNotMember) {
		t.Errorf("TakeAddr: %v", err)
	}
	other := take(t, b, nil)
	found, err := a.Check(t.Context(), subnet(), have)
	if err != nil || !found.Back {
		t.Fatalf("Check = %+v, %v", found, err)
	}
	for base, bits := range have {
		for addr := range bits.All(base) {
			if found.Own.Has(addr) == other.Has(addr) || (found.Lost[addr] == "b") != other.Has(addr) {
				t.Errorf("%s: own %t, lost to %q, the other's %t", addr, found.Own.Has(addr), found.Lost[addr], other.Has(addr))
			}
		}
	}
	for _, l := range []*ledger.Ledger{a, b} {
		if err := l.Vacate(t.Context(), subnet(), l.Host()); err != nil {
			t.Fatal(err)
		}
	}
	for _, prefix := range []string{store.ClusterPoolsPrefix(), store.ShardsPrefix(subnet().String())} {
		if pairs, _, err := kv.List(t.Context(), prefix, 0); err != nil || len(pairs) > 0 {
			t.Errorf("%v are left, %v", pairs, err)
		}
	}
}

// A value of a later version is nobody's to change.
func TestPool_ofALaterVersionIsLetAlone(t *testing.T) {
	t.Parallel()
	kv := memstore.New()
	if _, err := kv.Apply(t.Context(), store.Set(store.ClusterPoolKey(subnet().String()), []byte(`{"v":2}`))); err != nil {
		t.Fatal(err)
	}
	a := ledger.New(kv, "a", time.Now)
	_, err := a.Join(t.Context(), false, func(taken []netip.Prefix) (ledger.Pool, error) {
		if len(taken) != 1 || taken[0] != subnet() {
			t.Errorf("taken are %v", taken)
		}
		return ledger.Pool{Subnet: netip.MustParsePrefix("10.1.0.0/16")}, nil
	})
	if !errors.Is(err, ledger.ErrOverlap) {
		t.Errorf("Join: %v", err)
	}
}
