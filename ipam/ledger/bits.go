package ledger

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/bits"
	"net/netip"

	"github.com/ournet/ournet/internal/addrset"
)

// shardSize is how many addresses a shard has: those that differ in the last byte.
const shardSize = 256

// Bits is a set of addresses of one shard, by their last byte.
type Bits [shardSize / 64]uint64

// Holdings are addresses of a pool, by the first address of each shard.
type Holdings map[netip.Addr]Bits

// Base returns the first address of the shard that a is of.
func Base(a netip.Addr) netip.Addr { return At(a, 0) }

// At returns the address of a shard with that last byte.
func At(base netip.Addr, last byte) netip.Addr {
	b := base.AsSlice()
	b[len(b)-1] = last
	a, _ := netip.AddrFromSlice(b) // has the length of an address
	return a
}

// Only returns the set of a alone, in its shard.
func Only(a netip.Addr) Bits {
	var b Bits
	i := lastByte(a)
	b[i/64] |= 1 << (i % 64)
	return b
}

// Within returns the addresses of the shard of base that are in r.
func Within(base netip.Addr, r addrset.Range) Bits {
	shard := addrset.Range{First: At(base, 0), Last: At(base, shardSize-1)}
	r = r.Intersect(shard)
	if !r.IsValid() {
		return Bits{}
	}
	var b Bits
	for i := int(lastByte(r.First)); i <= int(lastByte(r.Last)); i++ {
		b[i/64] |= 1 << (i % 64)
	}
	return b
}

func lastByte(a netip.Addr) byte {
	if a.Is4() {
		return a.As4()[3]
	}
	return a.As16()[15]
}

// Has reports whether a, of the same shard, is in the set.
func (b Bits) Has(a netip.Addr) bool { return b.And(Only(a)) != Bits{} }

// And returns what both have.
func (b Bits) And(o Bits) Bits {
	for i := range b {
		b[i] &= o[i]
	}
	return b
}

// Or returns what one of both has.
func (b Bits) Or(o Bits) Bits {
	for i := range b {
		b[i] |= o[i]
	}
	return b
}

// Without returns what b has and o has not.
func (b Bits) Without(o Bits) Bits {
	for i := range b {
		b[i] &^= o[i]
	}
	return b
}

// Len returns how many addresses are in the set.
func (b Bits) Len() int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// Lowest returns the n lowest addresses of the set, or all if it has fewer.
func (b Bits) Lowest(n int) Bits {
	var out Bits
	for i := range b {
		for w := b[i]; w != 0 && n > 0; n-- {
			low := w & -w
			out[i] |= low
			w ^= low
		}
	}
	return out
}

// First returns the lowest address of the set, in the shard of base.
func (b Bits) First(base netip.Addr) (netip.Addr, bool) {
	for i, w := range b {
		if w != 0 {
			return At(base, byte(i*64+bits.TrailingZeros64(w))), true //nolint:gosec // below 256
		}
	}
	return netip.Addr{}, false
}

// All yields the addresses of the set in ascending order, in the shard of base.
func (b Bits) All(base netip.Addr) func(yield func(netip.Addr) bool) {
	return func(yield func(netip.Addr) bool) {
		for a, ok := b.First(base); ok; a, ok = b.First(base) {
			if !yield(a) {
				return
			}
			b = b.Without(Only(a))
		}
	}
}

// MarshalText implements [encoding.TextMarshaler]: 64 hexadecimal digits, the lowest
// address in the highest bit of the first.
func (b Bits) MarshalText() ([]byte, error) {
	raw := make([]byte, 0, shardSize/8)
	for _, w := range b {
		raw = binary.BigEndian.AppendUint64(raw, bits.Reverse64(w))
	}
	return hex.AppendEncode(nil, raw), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *Bits) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err != nil || len(raw) != shardSize/8 {
		return errors.New("addresses of a shard are not 64 hexadecimal digits")
	}
	for i := range b {
		b[i] = bits.Reverse64(binary.BigEndian.Uint64(raw[i*8:]))
	}
	return nil
}

// Len returns how many addresses h has.
func (h Holdings) Len() int {
	n := 0
	for _, b := range h {
		n += b.Len()
	}
	return n
}

// Add puts the addresses of a shard into h.
func (h Holdings) Add(base netip.Addr, b Bits) {
	if all := h[base].Or(b); all != (Bits{}) {
		h[base] = all
	}
}

// Remove takes the addresses of a shard out of h.
func (h Holdings) Remove(base netip.Addr, b Bits) {
	if left := h[base].Without(b); left == (Bits{}) {
		delete(h, base)
	} else {
		h[base] = left
	}
}

// Has reports whether a is one of h.
func (h Holdings) Has(a netip.Addr) bool { return h[Base(a)].Has(a) }
