package ipam

import (
	"errors"

	"github.com/ournet/ournet/ipam/ledger"
)

// OverlapError is [ErrOverlap] with what is in the way.
type OverlapError = ledger.OverlapError

// Taken is a subnet that is in use.
type Taken = ledger.Taken

// Sentinel errors; test them with [errors.Is]. Their text is completed with
// names and a remedy where they are wrapped.
var (
	// ErrRequest says that a request cannot be met as it is written.
	ErrRequest = errors.New("invalid request")
	// ErrSpace says that an address space is not ournet's.
	ErrSpace = errors.New("unknown address space")
	// ErrNoPool says that a pool is not known.
	ErrNoPool = errors.New("no such address pool")
	// ErrOverlap says that a subnet overlaps one that is in use.
	ErrOverlap = ledger.ErrOverlap
	// ErrNoSubnet says that no subnet is left to choose from.
	ErrNoSubnet = errors.New("no free subnet left")
	// ErrInUse says that an address or a pool belongs to someone else.
	ErrInUse = ledger.ErrTaken
	// ErrExhausted says that a pool has no free address left.
	ErrExhausted = errors.New("no free address left")
	// ErrContradiction says that a network on other hosts has the same subnet with
	// other settings.
	ErrContradiction = ledger.ErrContradiction
	// ErrAway says that something needs the cluster store, which does not answer or
	// is not set.
	ErrAway = errors.New("the cluster store is away")
	// ErrNotLeased says that an address to be bound is not leased.
	ErrNotLeased = errors.New("not leased")
)
