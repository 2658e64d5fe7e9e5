package ipam

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ournet/ournet/internal/store"
)

// The address spaces.
const (
	// SpaceHost is that of the pools of this host alone.
	SpaceHost = "ournet-host"
	// SpaceCluster is that of the pools that all hosts of the cluster share.
	SpaceCluster = "ournet-cluster"
)

// IsSpace reports whether an address space is one of ournet's.
func IsSpace(space string) bool { return space == SpaceHost || space == SpaceCluster }

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

// space and subnet take an id apart that [NewPoolID] made.
func (id PoolID) space() string {
	space, _, _ := strings.Cut(string(id), "/")
	return space
}

func (id PoolID) subnet() string {
	_, subnet, _ := strings.Cut(string(id), "/")
	return subnet
}

func (id PoolID) key() string { return store.PoolKey(id.space(), id.subnet()) }

func (id PoolID) leaseKey(addr netip.Addr) string {
	return store.LeaseKey(id.space(), id.subnet(), addr.String())
}

func (id PoolID) reserveKey(base netip.Addr) string {
	return store.ReserveKey(id.space(), id.subnet(), base.String())
}

// resolveLocked returns the id of the pool that is meant: the engine says the address
// space that it asked in, and a user may have had the pool in the other one. No
// subnet is in both, for pools of one host never overlap.
func (m *Manager) resolveLocked(id PoolID) PoolID {
	if m.pools[id] != nil {
		return id
	}
	for _, space := range []string{SpaceHost, SpaceCluster} {
		if other := PoolID(space + "/" + id.subnet()); IsSpace(id.space()) && m.pools[other] != nil {
			return other
		}
	}
	return id
}
