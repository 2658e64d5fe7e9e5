// Package ipam gives out subnets and addresses: to networks that the engine
// makes, and to the containers on them.
//
// It owns what is leased, and for whom it is remembered. It knows nothing of
// Docker's wire format, nor of how a network is made.
//
// Every decision is made in memory under one mutex, which is never held during
// I/O: what is decided is reserved there, written to the store, and taken back
// if that fails. Each pool and each lease is one key, so that a request costs one
// small write, and two requests never wait for each other but where they ask for
// the same thing. The store is written before the reply, so what the engine knows
// is never lost; what it does not know, because the reply was lost, is found by
// the missing confirmation and freed by [Manager.Sweep].
//
// The confirmation is a binding: of a pool to a network, and of an address to an
// endpoint. Bindings are in memory only, since the records of networks and
// endpoints are elsewhere; after a restart [Manager.Adopt] brings them back.
//
// Pools of the cluster are shared by its hosts. What is said above holds for them as
// well: leases are this host's, and so is the decision. But what may be leased is
// bounded by a reserve, addresses that the cluster's ledger has given to this host
// (package ledger); [Manager.Run] keeps some in it.
package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/singleflight"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/turn"
)

// DefaultConfirm is how long an address or a pool that no endpoint or network
// has taken up stays reserved.
const DefaultConfirm = 60 * time.Second

// Settings are the manager's settings; each zero value means its default.
type Settings struct {
	// Pools are the blocks for networks without a given subnet. A family of
	// which there is no block has a default one: [DefaultBlocks] for IPv4, and
	// for IPv6 a prefix of this host's own.
	Pools []Block
	// Cluster is what this host shares pools with others through; nil for none.
	Cluster *ClusterStore
	// Confirm is how long a lease or pool lasts without being bound;
	// [DefaultConfirm] by default.
	Confirm time.Duration
	// Now tells the time; time.Now by default.
	Now func() time.Time
}

// Manager gives out the subnets and addresses of one host. All methods may be
// called from many goroutines at once.
type Manager struct {
	kv      store.KV
	routes  func() ([]netip.Prefix, error)
	log     logrus.FieldLogger
	blocks  []Block
	confirm time.Duration
	now     func() time.Time
	// cluster is nil without a cluster store.
	cluster *cluster
	// turns are those of pools that hosts share, by subnet: one change of the ledger
	// at a time. Taken after a pool is closed, never before.
	turns turn.Turns
	// asking are the questions to other hosts that are under way: two claims of one host
	// for the same would be taken for left over, each by the other.
	asking singleflight.Group

	mu    sync.Mutex // guards all below, and everything in the pools
	pools map[PoolID]*pool
	// foreign are the subnets of pools that this version cannot read.
	foreign []netip.Prefix
	// strays are the keys of failed writes: what the store has there is not
	// known. They are repaired by Sweep.
	strays map[string]*stray
}

// PoolRequest asks for a pool.
type PoolRequest struct {
	// Space is the address space. With the option scope=host it is [SpaceHost],
	// whatever was asked in.
	Space string
	// Subnet is the subnet; not valid means any free one, and the unspecified address
	// any free one of that length.
	Subnet netip.Prefix
	// Range bounds the addresses that are chosen for containers; not valid
	// means the whole subnet.
	Range netip.Prefix
	// Options are the user's options (--ipam-opt).
	Options map[string]string
	// V6 asks for an IPv6 subnet.
	V6 bool
}

// AddressRequest asks for an address.
type AddressRequest struct {
	Pool PoolID
	// Address is the address; not valid means any free one.
	Address netip.Addr
	// Gateway says that it is for the network's gateway.
	Gateway bool
	// Name is the container's name, "" where the engine does not tell it.
	Name string
}

// Open reads what the store has and returns a manager of it. Nothing is bound
// yet, and the time to confirm begins anew for everything. The function routes
// returns the destinations of this host's routes; default routes are ignored.
func Open(ctx context.Context, kv store.KV, routes func() ([]netip.Prefix, error), log logrus.FieldLogger, s Settings) (*Manager, error) {
	if s.Confirm == 0 {
		s.Confirm = DefaultConfirm
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	if err := checkBlocks(s.Pools); err != nil {
		return nil, fmt.Errorf("open address manager: %w", err)
	}
	blocks, err := completeBlocks(ctx, kv, s.Pools)
	if err != nil {
		return nil, fmt.Errorf("open address manager: %w", err)
	}
	m := &Manager{
		kv: kv, routes: routes, log: log, blocks: blocks, confirm: s.Confirm, now: s.Now,
		pools: make(map[PoolID]*pool), strays: make(map[string]*stray),
	}
	if s.Cluster != nil {
		m.cluster = newCluster(*s.Cluster, s.Now)
	}
	if err := m.load(ctx); err != nil {
		return nil, fmt.Errorf("open address manager: %w", err)
	}
	return m, nil
}

// await waits until ch is closed.
func await(ctx context.Context, ch <-chan struct{}) error {
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for another request: %w", ctx.Err())
	}
}
