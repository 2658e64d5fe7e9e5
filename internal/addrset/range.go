package addrset

import (
	"math"
	"net/netip"
)

// Range is a run of addresses of one family, both ends included. The zero value
// is not valid, and stands for no address at all.
type Range struct {
	First, Last netip.Addr
}

// RangeOf returns all addresses of prefix.
func RangeOf(prefix netip.Prefix) Range {
	if !prefix.IsValid() {
		return Range{}
	}
	first := prefix.Masked().Addr()
	host := first.BitLen() - prefix.Bits()
	return Range{First: first, Last: numberOf(first).or(ones(host)).addr(first.Is4())}
}

// IsValid reports whether r has any address.
func (r Range) IsValid() bool {
	return r.First.IsValid() && r.First.BitLen() == r.Last.BitLen() && !r.Last.Less(r.First)
}

// Contains reports whether a is in r.
func (r Range) Contains(a netip.Addr) bool {
	return r.IsValid() && a.BitLen() == r.First.BitLen() && !a.Less(r.First) && !r.Last.Less(a)
}

// Intersect returns what r and o have in common; it is not valid if that is nothing.
func (r Range) Intersect(o Range) Range {
	if !r.IsValid() || !o.IsValid() || r.First.BitLen() != o.First.BitLen() {
		return Range{}
	}
	if r.First.Less(o.First) {
		r.First = o.First
	}
	if o.Last.Less(r.Last) {
		r.Last = o.Last
	}
	if !r.IsValid() {
		return Range{}
	}
	return r
}

// Len returns how many addresses r has, or [math.MaxUint64] if that is more.
func (r Range) Len() uint64 {
	if !r.IsValid() {
		return 0
	}
	span := numberOf(r.Last).sub(numberOf(r.First))
	if span.hi > 0 || span.lo == math.MaxUint64 {
		return math.MaxUint64
	}
	return span.lo + 1
}
