package ipam

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ournet/ournet/internal/store"
)

// The lengths of a unique local prefix and of a subnet of it (RFC 4193 section
// 3.1, RFC 4291 section 2.5.4).
const (
	ulaBits       = 48
	ulaSubnetBits = 64
)

// ulaRecord is the durable form of this host's own IPv6 prefix.
type ulaRecord struct {
	Version int          `json:"v"`
	Prefix  netip.Prefix `json:"prefix"`
}

// completeBlocks returns blocks with the default ones of each family that is not
// in it.
func completeBlocks(ctx context.Context, kv store.KV, blocks []Block) ([]Block, error) {
	blocks = slices.Clone(blocks)
	if !slices.ContainsFunc(blocks, func(b Block) bool { return b.Base.Addr().Is4() }) {
		blocks = append(blocks, DefaultBlocks()...)
	}
	if !slices.ContainsFunc(blocks, func(b Block) bool { return b.Base.Addr().Is6() }) {
		ula, err := ownPrefix(ctx, kv)
		if err != nil {
			return nil, fmt.Errorf("this host's IPv6 prefix: %w", err)
		}
		blocks = append(blocks, Block{Base: ula, Size: ulaSubnetBits})
	}
	return blocks, nil
}

// ownPrefix returns this host's unique local prefix, and makes it at the first
// time. It never changes afterwards: networks have addresses of it.
func ownPrefix(ctx context.Context, kv store.KV) (netip.Prefix, error) {
	for {
		pair, err := kv.Get(ctx, store.LocalULAKey())
		if err == nil {
			return decodeULA(pair.Value)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return netip.Prefix{}, err
		}
		value, err := encode(ulaRecord{Version: recordVersion, Prefix: newULA()})
		if err != nil {
			return netip.Prefix{}, err
		}
		_, err = kv.Apply(ctx, store.CAS(store.LocalULAKey(), value, 0))
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return netip.Prefix{}, err
		}
	}
}

func decodeULA(value []byte) (netip.Prefix, error) {
	var r ulaRecord
	if err := decode(value, &r); err != nil {
		return netip.Prefix{}, err
	}
	if r.Prefix.Bits() != ulaBits || r.Prefix != r.Prefix.Masked() || !r.Prefix.Addr().IsPrivate() || !r.Prefix.Addr().Is6() {
		return netip.Prefix{}, fmt.Errorf("decode record: %s is not a unique local prefix", r.Prefix)
	}
	return r.Prefix, nil
}

// newULA returns a prefix of fd00::/8 with 40 random bits (RFC 4193 section 3.2).
func newULA() netip.Prefix {
	b := [16]byte{0xfd}
	_, _ = rand.Read(b[1:6]) // never fails: it ends the program instead
	return netip.PrefixFrom(netip.AddrFrom16(b), ulaBits)
}
