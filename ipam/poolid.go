package ipam

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ournet/ournet/internal/store"
)

// SpaceHost is the address space of the pools of this host alone.
const SpaceHost = "ournet-host"

// PoolID names a pool to the engine: "<space>/<subnet>", for example
// "ournet-host/172.25.0.0/16".
type PoolID string

// NewPoolID returns the id of the pool with that subnet in that space.
func NewPoolID(space string, subnet netip.Prefix) PoolID {
	return PoolID(space + "/" + subnet.String())
}

// ParsePoolID reads an id that [NewPoolID] made. Any other text is an error.
func ParsePoolID(s string) (space string, subnet netip.Prefix, err error) {
	space, rest, _ := strings.Cut(s, "/")
	subnet, err = netip.ParsePrefix(rest)
	if err != nil {
		return "", netip.Prefix{}, fmt.Errorf("%w: pool id %q is not <space>/<subnet>: %w", ErrRequest, s, err)
	}
	if space == "" || subnet != subnet.Masked() || string(NewPoolID(space, subnet)) != s {
		return "", netip.Prefix{}, fmt.Errorf("%w: pool id %q is not <space>/<subnet>", ErrRequest, s)
	}
	return space, subnet, nil
}

func poolKey(subnet netip.Prefix) string { return store.PoolKey(SpaceHost, subnet.String()) }

func leaseKey(subnet netip.Prefix, addr netip.Addr) string {
	return store.LeaseKey(SpaceHost, subnet.String(), addr.String())
}
