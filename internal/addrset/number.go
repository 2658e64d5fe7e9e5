package addrset

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
)

// number is an address as a 128 bit number; an IPv4 address is 32 bits of it.
type number struct {
	hi, lo uint64
}

func numberOf(a netip.Addr) number {
	if a.Is4() {
		b := a.As4()
		return number{lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return number{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:])}
}

func (n number) addr(is4 bool) netip.Addr {
	if is4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(n.lo)) //nolint:gosec // an IPv4 number has 32 bits
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], n.hi)
	binary.BigEndian.PutUint64(b[8:], n.lo)
	return netip.AddrFrom16(b)
}

// ones returns a number of which the lowest count bits are set.
func ones(count int) number {
	switch {
	case count >= 128:
		return number{hi: math.MaxUint64, lo: math.MaxUint64}
	case count >= 64:
		return number{hi: 1<<(count-64) - 1, lo: math.MaxUint64}
	default:
		return number{lo: 1<<count - 1}
	}
}

func (n number) less(o number) bool { return n.hi < o.hi || (n.hi == o.hi && n.lo < o.lo) }

func (n number) or(o number) number { return number{hi: n.hi | o.hi, lo: n.lo | o.lo} }

// add wraps around at 128 bits.
func (n number) add(d uint64) number {
	lo, carry := bits.Add64(n.lo, d, 0)
	return number{hi: n.hi + carry, lo: lo}
}

func (n number) sub(o number) number {
	lo, borrow := bits.Sub64(n.lo, o.lo, 0)
	hi, _ := bits.Sub64(n.hi, o.hi, borrow)
	return number{hi: hi, lo: lo}
}

// split returns the first number of n's chunk, and n's place in it.
func (n number) split() (base number, bit uint) {
	return number{hi: n.hi, lo: n.lo &^ (chunkSize - 1)}, uint(n.lo & (chunkSize - 1))
}
