// Package addrset is a set of addresses of one prefix: bitmaps that exist only
// where addresses are, so that an empty /8 or IPv6 /64 costs nothing, and that
// make the next free address a matter of a few words.
//
// It is pure: no locks, no I/O, no notion of who has an address.
package addrset

import (
	"math/bits"
	"net/netip"
)

// A chunk is 4096 addresses, 512 bytes: a /20 of IPv4.
const (
	chunkBits  = 12
	chunkSize  = 1 << chunkBits
	chunkWords = chunkSize / 64
)

// Set is a set of addresses of one prefix. The zero value is not useful; see
// [New]. It is not safe for concurrent use.
type Set struct {
	prefix netip.Prefix
	chunks map[number]*chunk // by the number of their first address
	len    int
}

type chunk struct {
	words [chunkWords]uint64
	len   int
}

// New returns an empty set of addresses of prefix.
func New(prefix netip.Prefix) *Set {
	return &Set{prefix: prefix.Masked(), chunks: make(map[number]*chunk)}
}

// Prefix returns the prefix that the set is of.
func (s *Set) Prefix() netip.Prefix { return s.prefix }

// Len returns how many addresses are in the set.
func (s *Set) Len() int { return s.len }

// Has reports whether a is in the set.
func (s *Set) Has(a netip.Addr) bool {
	if !s.prefix.Contains(a) {
		return false
	}
	base, bit := split(a)
	c := s.chunks[base]
	return c != nil && c.words[bit/64]&(1<<(bit%64)) != 0
}

// Add puts a into the set. It reports false, and does nothing, if a is there
// already or not of the prefix.
func (s *Set) Add(a netip.Addr) bool {
	if !s.prefix.Contains(a) || s.Has(a) {
		return false
	}
	base, bit := split(a)
	c := s.chunks[base]
	if c == nil {
		c = new(chunk)
		s.chunks[base] = c
	}
	c.words[bit/64] |= 1 << (bit % 64)
	c.len++
	s.len++
	return true
}

// Remove takes a out of the set. It reports false if it was not there.
func (s *Set) Remove(a netip.Addr) bool {
	if !s.Has(a) {
		return false
	}
	base, bit := split(a)
	c := s.chunks[base]
	c.words[bit/64] &^= 1 << (bit % 64)
	c.len--
	s.len--
	if c.len == 0 {
		delete(s.chunks, base)
	}
	return true
}

// NextFree returns the lowest address of r, and of the prefix, that is not in
// the set. It costs a step for each 4096 addresses without a gap before it.
func (s *Set) NextFree(r Range) (netip.Addr, bool) {
	r = r.Intersect(RangeOf(s.prefix))
	if !r.IsValid() {
		return netip.Addr{}, false
	}
	at, last := numberOf(r.First), numberOf(r.Last)
	for {
		base, bit := at.split()
		free, ok := uint(0), false
		switch c := s.chunks[base]; {
		case c == nil:
			free, ok = bit, true
		case c.len < chunkSize:
			free, ok = c.nextFree(bit)
		}
		if ok {
			found := base.add(uint64(free))
			return found.addr(r.First.Is4()), !last.less(found)
		}
		next := base.add(chunkSize)
		if last.less(next) || next.less(at) { // past the end, or around it
			return netip.Addr{}, false
		}
		at = next
	}
}

// nextFree returns the first bit from bit on that is not set.
func (c *chunk) nextFree(bit uint) (uint, bool) {
	word := ^c.words[bit/64] >> (bit % 64) << (bit % 64)
	for i := bit / 64; ; {
		if word != 0 {
			return i*64 + uint(bits.TrailingZeros64(word)), true
		}
		if i++; i == chunkWords {
			return 0, false
		}
		word = ^c.words[i]
	}
}

func split(a netip.Addr) (base number, bit uint) { return numberOf(a).split() }
