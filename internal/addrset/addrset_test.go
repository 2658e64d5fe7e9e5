package addrset_test

import (
	"math"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/ournet/ournet/internal/addrset"
)

func rng(first, last string) addrset.Range {
	return addrset.Range{First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last)}
}

func TestRangeOf(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		prefix, first, last string
		size                uint64
	}{
		{"10.0.0.0/8", "10.0.0.0", "10.255.255.255", 1 << 24},
		{"0.0.0.0/0", "0.0.0.0", "255.255.255.255", 1 << 32},
		{"10.1.2.3/32", "10.1.2.3", "10.1.2.3", 1},
		{"10.1.2.2/31", "10.1.2.2", "10.1.2.3", 2},
		{"10.1.2.3/24", "10.1.2.0", "10.1.2.255", 256},
		{"fd00::/64", "fd00::", "fd00::ffff:ffff:ffff:ffff", math.MaxUint64},
		{"fd00::/65", "fd00::", "fd00::7fff:ffff:ffff:ffff", 1 << 63},
		{"fd00::/63", "fd00::", "fd00::1:ffff:ffff:ffff:ffff", math.MaxUint64},
		{"::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", math.MaxUint64},
		{"fd00::1/128", "fd00::1", "fd00::1", 1},
	} {
		got := addrset.RangeOf(netip.MustParsePrefix(tc.prefix))
		if want := rng(tc.first, tc.last); got != want || got.Len() != tc.size {
			t.Errorf("RangeOf(%s) = %v with %d, want %v with %d", tc.prefix, got, got.Len(), want, tc.size)
		}
	}
	if got := addrset.RangeOf(netip.Prefix{}); got.IsValid() || got.Len() != 0 {
		t.Errorf("RangeOf(nothing) = %v", got)
	}
}

func TestRange_intersect(t *testing.T) {
	t.Parallel()
	a := rng("10.0.0.10", "10.0.0.20")
	for _, tc := range []struct{ b, want addrset.Range }{
		{rng("10.0.0.0", "10.0.0.15"), rng("10.0.0.10", "10.0.0.15")},
		{rng("10.0.0.20", "10.0.0.30"), rng("10.0.0.20", "10.0.0.20")},
		{rng("10.0.0.12", "10.0.0.13"), rng("10.0.0.12", "10.0.0.13")},
		{rng("10.0.0.0", "10.0.0.255"), a},
		{rng("10.0.0.21", "10.0.0.30"), addrset.Range{}},
		{rng("10.0.0.15", "10.0.0.12"), addrset.Range{}},
		{rng("::", "ffff::"), addrset.Range{}},
		{addrset.Range{}, addrset.Range{}},
	} {
		if got := a.Intersect(tc.b); got != tc.want {
			t.Errorf("%v and %v = %v, want %v", a, tc.b, got, tc.want)
		}
	}
}

func TestNextFree(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		prefix string
		used   []string
		in     addrset.Range
		want   string
	}{
		{"empty set", "10.0.0.0/24", nil, rng("10.0.0.5", "10.0.0.9"), "10.0.0.5"},
		{"skips used ones", "10.0.0.0/24", []string{"10.0.0.5", "10.0.0.6"}, rng("10.0.0.5", "10.0.0.9"), "10.0.0.7"},
		{"full range", "10.0.0.0/24", []string{"10.0.0.5", "10.0.0.6"}, rng("10.0.0.5", "10.0.0.6"), ""},
		{"range begins before the prefix", "10.0.1.0/24", nil, rng("10.0.0.5", "10.0.2.6"), "10.0.1.0"},
		{"range beside the prefix", "10.0.1.0/24", nil, rng("10.0.0.5", "10.0.0.6"), ""},
		{"other family", "10.0.1.0/24", nil, rng("::", "::9"), ""},
		{"64 bit range", "fd00::/64", []string{"fd00::"}, rng("fd00::", "fd00::ffff:ffff:ffff:ffff"), "fd00::1"},
		{"at the 64 bit limit", "fd00::/64", []string{"fd00::ffff:ffff:ffff:fffe"}, rng("fd00::ffff:ffff:ffff:fffe", "fd00::ffff:ffff:ffff:ffff"), "fd00::ffff:ffff:ffff:ffff"},
		{"across the 64 bit limit", "fd00::/63", []string{"fd00::ffff:ffff:ffff:ffff"}, rng("fd00::ffff:ffff:ffff:ffff", "fd00:0:0:1::9"), "fd00:0:0:1::"},
		{"end of all addresses", "::/0", []string{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}, rng("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ""},
		{"end of IPv4", "0.0.0.0/0", []string{"255.255.255.255"}, rng("255.255.255.255", "255.255.255.255"), ""},
	} {
		s := addrset.New(netip.MustParsePrefix(tc.prefix))
		for _, a := range tc.used {
			s.Add(netip.MustParseAddr(a))
		}
		var want netip.Addr
		if tc.want != "" {
			want = netip.MustParseAddr(tc.want)
		}
		got, ok := s.NextFree(tc.in)
		if ok != want.IsValid() || (ok && got != want) {
			t.Errorf("%s: NextFree(%v) = %v, %v, want %v", tc.name, tc.in, got, ok, want)
		}
	}
}

func TestNextFree_walksFullChunks(t *testing.T) {
	t.Parallel()
	prefix := netip.MustParsePrefix("10.0.0.0/14")
	s := addrset.New(prefix)
	all := addrset.RangeOf(prefix)
	want := all.First
	for range 1 << 18 {
		got, ok := s.NextFree(all)
		if !ok || got != want || !s.Add(got) {
			t.Fatalf("NextFree = %v, %v, want %v", got, ok, want)
		}
		want = want.Next()
	}
	if got, ok := s.NextFree(all); ok || s.Len() != 1<<18 {
		t.Fatalf("NextFree in a full set of %d = %v", s.Len(), got)
	}
	gap := netip.MustParseAddr("10.3.255.254")
	s.Remove(gap)
	if got, ok := s.NextFree(all); !ok || got != gap {
		t.Errorf("NextFree = %v, %v, want the only gap %v", got, ok, gap)
	}
}

// TestSet_isLikeAMap compares the set with a map, on prefixes and addresses that
// lie around the borders of chunks.
func TestSet_isLikeAMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		prefix := netip.MustParsePrefix(rapid.SampledFrom([]string{"10.0.0.0/8", "10.0.0.0/19", "10.0.15.0/24", "10.0.15.254/31", "fd00::/64", "fd00::/115", "::/0"}).Draw(rt, "prefix"))
		s := addrset.New(prefix)
		all := addrset.RangeOf(prefix)
		var near []netip.Addr
		for _, start := range []netip.Addr{all.First, netip.MustParseAddr("10.0.15.250"), netip.MustParseAddr("fd00::ffa")} {
			for a := start; len(near)%12 != 11; a = a.Next() {
				near = append(near, a)
			}
			near = append(near, all.Last)
		}
		addr := rapid.SampledFrom(near)
		model := make(map[netip.Addr]bool)
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				a := addr.Draw(rt, "addr")
				if got, want := s.Add(a), prefix.Contains(a) && !model[a]; got != want {
					rt.Fatalf("Add(%v) = %v, want %v", a, got, want)
				}
				if prefix.Contains(a) {
					model[a] = true
				}
			},
			"remove": func(rt *rapid.T) {
				a := addr.Draw(rt, "addr")
				if got, want := s.Remove(a), model[a]; got != want {
					rt.Fatalf("Remove(%v) = %v, want %v", a, got, want)
				}
				delete(model, a)
			},
			"next free": func(rt *rapid.T) {
				r := addrset.Range{First: addr.Draw(rt, "first"), Last: addr.Draw(rt, "last")}
				got, ok := s.NextFree(r)
				in := r.Intersect(all)
				if !in.IsValid() {
					if ok {
						rt.Fatalf("NextFree(%v) = %v of no address", r, got)
					}
					return
				}
				want := in.First
				for model[want] && want != in.Last {
					want = want.Next()
				}
				if ok == model[want] || (ok && got != want) {
					rt.Fatalf("NextFree(%v) = %v, %v, want %v", r, got, ok, want)
				}
			},
			"": func(rt *rapid.T) {
				if s.Len() != len(model) {
					rt.Fatalf("Len = %d, want %d", s.Len(), len(model))
				}
				for _, a := range near {
					if s.Has(a) != model[a] {
						rt.Fatalf("Has(%v) = %v", a, s.Has(a))
					}
				}
			},
		})
	})
}

func BenchmarkNextFree(b *testing.B) {
	prefix := netip.MustParsePrefix("10.0.0.0/8")
	s := addrset.New(prefix)
	all := addrset.RangeOf(prefix)
	for b.Loop() {
		a, ok := s.NextFree(all)
		if !ok {
			b.Fatal("full")
		}
		s.Add(a)
		all.First = a
	}
}
