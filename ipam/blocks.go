package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ournet/ournet/internal/addrset"
)

// Block is a run of addresses out of which subnets are cut for networks that
// were asked for without one.
type Block struct {
	// Base is the whole run.
	Base netip.Prefix
	// Size is the prefix length of each subnet.
	Size int
}

// DefaultBlocks returns the block of IPv4 subnets when none is set: 16,384
// networks of 254 addresses, in a part of 10.0.0.0/8 that is seldom used. The
// default for IPv6 is a prefix of the host's own, made when it is first needed.
func DefaultBlocks() []Block {
	return []Block{{Base: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 128, 0, 0}), 10), Size: 24}}
}

// String returns the form that [ParseBlocks] reads.
func (b Block) String() string { return fmt.Sprintf("base=%s,size=%d", b.Base, b.Size) }

// ParseBlocks reads the setting DEFAULT_ADDRESS_POOLS, which has the form of the
// engine's flag --default-address-pool with ";" between several:
// "base=10.128.0.0/10,size=24;base=fd00:1::/48,size=64". "" means the defaults;
// so does a family of which no block is given.
func ParseBlocks(s string) ([]Block, error) {
	if strings.TrimSpace(s) == "" {
		return DefaultBlocks(), nil
	}
	var blocks []Block
	for part := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(s), ";"), ";") {
		b, err := parseBlock(part)
		if err != nil {
			return nil, fmt.Errorf("address pool %q: %w", strings.TrimSpace(part), err)
		}
		blocks = append(blocks, b)
	}
	return blocks, checkBlocks(blocks)
}

func parseBlock(s string) (Block, error) {
	var b Block
	for field := range strings.SplitSeq(s, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		var err error
		switch {
		case key == "base" && !b.Base.IsValid():
			b.Base, err = netip.ParsePrefix(value)
		case key == "size" && b.Size == 0:
			b.Size, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("unexpected %q", field)
		}
		if err != nil {
			return Block{}, fmt.Errorf("%w; want base=<prefix>,size=<prefix length>", err)
		}
	}
	return b, nil
}

// checkBlocks returns all that is wrong with blocks, joined.
func checkBlocks(blocks []Block) error {
	var problems []error
	for i, b := range blocks {
		if err := b.check(); err != nil {
			problems = append(problems, fmt.Errorf("address pool %q: %w", b, err))
		}
		for _, other := range blocks[:i] {
			if b.Base.Overlaps(other.Base) {
				problems = append(problems, fmt.Errorf("address pool %q %w %q", b, ErrOverlap, other))
			}
		}
	}
	return errors.Join(problems...)
}

func (b Block) check() error {
	if err := checkCanonical("base", b.Base); err != nil {
		return err
	}
	if err := checkSubnet(b.Base, b.Base.Addr().Is6()); err != nil {
		return err
	}
	if least, most := b.Base.Bits(), longest(b.Base); b.Size < least || b.Size > most {
		return fmt.Errorf("size %d is not a prefix length from %d to %d", b.Size, least, most)
	}
	return nil
}

// longest returns the greatest length of a subnet that we choose: it needs room for a
// gateway and at least one container.
func longest(p netip.Prefix) int { return p.Addr().BitLen() - 2 }

// free returns the first subnet of b that overlaps nothing of taken. Each step
// leaps over something that is taken, so there are no more of them than that.
func (b Block) free(taken []netip.Prefix) (netip.Prefix, bool) {
	if b.Size < b.Base.Bits() {
		return netip.Prefix{}, false
	}
	next := netip.PrefixFrom(b.Base.Addr(), b.Size)
	for {
		hit, found := overlapping(next, taken)
		if !found {
			return next, true
		}
		last := addrset.RangeOf(next).Last
		if end := addrset.RangeOf(hit).Last; last.Less(end) {
			last = end
		}
		start := last.Next()
		if !b.Base.Contains(start) { // nor does any prefix contain the end of all addresses
			return netip.Prefix{}, false
		}
		next = netip.PrefixFrom(start, b.Size)
	}
}

func overlapping(p netip.Prefix, taken []netip.Prefix) (netip.Prefix, bool) {
	for _, t := range taken {
		if p.Overlaps(t) {
			return t, true
		}
	}
	return netip.Prefix{}, false
}
