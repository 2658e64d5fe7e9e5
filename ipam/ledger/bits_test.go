package ledger_test

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ournet/ournet/internal/addrset"
	"github.com/ournet/ournet/ipam/ledger"
)

// TestBits_areLikeAMap compares the set with a map.
func TestBits_areLikeAMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		base := rapid.SampledFrom([]netip.Addr{netip.MustParseAddr("10.1.2.0"), netip.MustParseAddr("fd00::100")}).Draw(rt, "base")
		draw := func(name string) (ledger.Bits, map[netip.Addr]bool) {
			var b ledger.Bits
			model := make(map[netip.Addr]bool)
			for _, last := range rapid.SliceOf(rapid.Byte()).Draw(rt, name) {
				a := ledger.At(base, last)
				b = b.Or(ledger.Only(a))
				model[a] = true
			}
			return b, model
		}
		b, inB := draw("b")
		c, inC := draw("c")
		n := rapid.IntRange(0, 300).Draw(rt, "n")
		and, or, without := b.And(c), b.Or(c), b.Without(c)
		var all []netip.Addr
		for last := range 256 {
			a := ledger.At(base, byte(last))
			if ledger.Base(a) != base {
				rt.Fatalf("Base(%s) = %s", a, ledger.Base(a))
			}
			if and.Has(a) != (inB[a] && inC[a]) || or.Has(a) != (inB[a] || inC[a]) || without.Has(a) != (inB[a] && !inC[a]) {
				rt.Fatalf("%s: and %t, or %t, without %t", a, and.Has(a), or.Has(a), without.Has(a))
			}
			if inB[a] {
				all = append(all, a)
			}
		}
		if got := slices.Collect(b.All(base)); !slices.Equal(got, all) || b.Len() != len(all) {
			rt.Fatalf("All = %v with %d, want %v", got, b.Len(), all)
		}
		if got := slices.Collect(b.Lowest(n).All(base)); !slices.Equal(got, all[:min(n, len(all))]) {
			rt.Fatalf("Lowest(%d) = %v", n, got)
		}
		text, err := b.MarshalText()
		var again ledger.Bits
		if err == nil {
			err = again.UnmarshalText(text)
		}
		if err != nil || again != b {
			rt.Fatalf("%s read again = %v, %v", text, again, err)
		}
	})
}

func TestWithin(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		base, first, last string
		want              int
	}{
		{"10.1.2.0", "10.1.2.0", "10.1.2.255", 256},
		{"10.1.2.0", "10.1.0.0", "10.1.9.0", 256},
		{"10.1.2.0", "10.1.2.5", "10.1.2.5", 1},
		{"10.1.2.0", "10.1.2.250", "10.1.3.5", 6},
		{"10.1.2.0", "10.1.3.0", "10.1.3.5", 0},
		{"fd00::", "fd00::", "fd00::ffff", 256},
		{"fd00::", "10.1.2.0", "10.1.2.5", 0},
	} {
		r := addrset.Range{First: netip.MustParseAddr(tc.first), Last: netip.MustParseAddr(tc.last)}
		if got := ledger.Within(netip.MustParseAddr(tc.base), r).Len(); got != tc.want {
			t.Errorf("Within(%s, %v) has %d, want %d", tc.base, r, got, tc.want)
		}
	}
}

func TestBits_unmarshalRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "00", "zz", string(make([]byte, 64))} {
		var b ledger.Bits
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %v", text, b)
		}
	}
}

// However many hosts come, each finds something left.
func TestSupply_batchLeavesSomeForOthers(t *testing.T) {
	t.Parallel()
	for free := uint64(1); free < 2000; free += 1 + free/7 {
		for hosts := range 20 {
			s := ledger.Supply{Free: free, Hosts: hosts + 1}
			n := s.Batch()
			if n < 1 || n > 64 || n > 1 && uint64(2*n*max(hosts+1, 3)) > free {
				t.Errorf("of %d free a host of %d takes %d", free, hosts+1, n)
			}
		}
	}
	if n := (ledger.Supply{Hosts: 3}).Batch(); n != 0 {
		t.Errorf("of nothing a host takes %d", n)
	}
}
