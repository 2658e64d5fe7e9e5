package ipam_test

import (
	"net/netip"
	"testing"

	"github.com/ournet/ournet/ipam"
)

// twoPools is a network with two subnets, of which the first has room for one.
func twoPools(w *world) (first, second ipam.PoolID) {
	w.t.Helper()
	first, second = w.unboundPool("10.77.0.0/30", ""), w.unboundPool("10.78.0.0/29", "")
	w.lease(gateway(first, ""))
	w.lease(gateway(second, ""))
	for _, id := range []ipam.PoolID{first, second} {
		if err := w.BindPool(id, "network"); err != nil {
			w.t.Fatal(err)
		}
	}
	return first, second
}

func TestChain_nextSubnetWhenTheFirstIsFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, _ := twoPools(w)
	w.wantLease(any4(first), "10.77.0.2")
	got, err := w.RequestAddress(t.Context(), any4(first))
	if err != nil || got.String() != "10.78.0.2/29" {
		t.Errorf("RequestAddress = %s, %v, want an address of the second subnet with its length", got, err)
	}
	// Whatever the engine believes the address to be of.
	w.bind(first, got.Addr(), "endpoint")
	w.UnbindAddress(first, got.Addr(), "endpoint")
	w.release(first, got.Addr())
	w.wantLease(any4(first), "10.78.0.2")
	for range 4 {
		w.lease(any4(first))
	}
	w.wantRefused(any4(first), ipam.ErrExhausted, "10.77.0.2", "10.78.0.6")
	w.release(first, netip.MustParseAddr("10.77.0.2"))
	w.wantLease(any4(first), "10.77.0.2")
	w.wantRefused(static(first, "10.78.0.1", ""), ipam.ErrRequest, "10.78.0.1", "10.77.0.0/30")
}

// Where the user gave a range, addresses come from there before any other subnet,
// whichever of them the engine asks.
func TestChain_beginsWithTheSubnetThatHasARange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plain, ranged := w.unboundPool("10.78.0.0/29", ""), w.unboundPool("10.77.0.0/16", "10.77.1.0/31")
	w.lease(gateway(plain, ""))
	w.lease(gateway(ranged, ""))
	for _, id := range []ipam.PoolID{plain, ranged} {
		if err := w.BindPool(id, "network"); err != nil {
			t.Fatal(err)
		}
	}
	w.wantLease(any4(plain), "10.77.1.0")
	w.wantLease(any4(plain), "10.77.1.1")
	w.wantLease(any4(plain), "10.78.0.2")
}

func TestChain_namesKeepTheirAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := twoPools(w)
	w.wantLease(named(first, "a"), "10.77.0.2")
	w.wantLease(named(first, "b"), "10.78.0.2")
	w.release(first, netip.MustParseAddr("10.77.0.2"))
	w.release(first, netip.MustParseAddr("10.78.0.2"))
	live := []ipam.LiveNetwork{{Network: "network", Pools: []ipam.PoolID{first, second}}}
	w.open()
	if err := w.Adopt(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	w.wantLease(named(first, "b"), "10.78.0.2")
	w.wantLease(named(first, "a"), "10.77.0.2")
	w.wantLease(named(first, "c"), "10.78.0.3")
}
