// Package store is the seam between ournet and whatever keeps its records: a
// small key-value contract that an embedded file and a cluster store both meet.
//
// It knows keys, bytes and versions, nothing of networks or addresses. Every
// implementation passes the same suite, internal/store/storetest.
package store

import (
	"context"
	"errors"
)

// Sentinel errors of every implementation; test them with [errors.Is].
var (
	// ErrNotFound says that a key does not exist.
	ErrNotFound = errors.New("key not found")
	// ErrConflict says that a condition of [KV.Apply] did not hold; nothing was written.
	ErrConflict = errors.New("key was changed by someone else")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrUnavailable says that the store could not be asked. Asking again later
	// may help.
	ErrUnavailable = errors.New("store is unavailable")
	// ErrSetup says that a store is not even asked, because of how it is set up; the
	// text says what to set. It comes with ErrUnavailable.
	ErrSetup = errors.New("store is not set up")
	// ErrUncertain says that the answer to a write was lost: it was done, or was
	// not, or will be. Whoever needs to know reads again.
	ErrUncertain = errors.New("it is not known whether the write was done")
	// ErrDenied says that the store does not let us do this, now or later.
	ErrDenied = errors.New("store refuses access")
	// ErrTooLarge says that a write is more than the store takes at once.
	ErrTooLarge = errors.New("too large for the store")
	// ErrLeaseLost says that a lease has ended; nothing was written.
	ErrLeaseLost = errors.New("lease was lost")
)

// Index is a version. It grows with every write of the store, so that the index
// of a later write is always larger than that of an earlier one.
type Index uint64

// Pair is one key with its value and the index of the write that made it so.
type Pair struct {
	Key   string
	Value []byte
	Index Index
	// Lease is the id of the lease that holds the key; empty if none does.
	Lease string
}

// OpKind says what one [Op] does.
type OpKind int

// The kinds of [Op].
const (
	// OpSet writes the value whatever was there.
	OpSet OpKind = iota
	// OpCAS writes the value if the key still has the op's index; index 0
	// means that the key must not exist.
	OpCAS
	// OpDelete removes the key; a missing key is fine.
	OpDelete
	// OpDeleteCAS removes the key if it still has the op's index.
	OpDeleteCAS
	// OpCheck writes nothing and holds if the key still has the op's index;
	// index 0 means that the key must not exist.
	OpCheck
)

// Op is one step of a transaction.
type Op struct {
	Kind  OpKind
	Key   string
	Value []byte
	Index Index
	// Lease makes an OpSet hold the key for that lease; see [Hold].
	Lease string
}

// Set returns an op that writes value at key, unconditionally.
func Set(key string, value []byte) Op { return Op{Kind: OpSet, Key: key, Value: value} }

// Hold returns an op that writes value at key and makes the lease with that id its
// holder. It fails with ErrConflict while another lease holds the key, and with
// ErrLeaseLost if this one has ended. Other ops leave the holder as it is, and a
// deletion ends the holding with the key.
func Hold(key string, value []byte, lease string) Op {
	return Op{Kind: OpSet, Key: key, Value: value, Lease: lease}
}

// CAS returns an op that writes value at key if the key is still at index at;
// 0 creates.
func CAS(key string, value []byte, at Index) Op {
	return Op{Kind: OpCAS, Key: key, Value: value, Index: at}
}

// Delete returns an op that removes key, unconditionally.
func Delete(key string) Op { return Op{Kind: OpDelete, Key: key} }

// DeleteCAS returns an op that removes key if it is still at index at.
func DeleteCAS(key string, at Index) Op { return Op{Kind: OpDeleteCAS, Key: key, Index: at} }

// Check returns an op that only holds if key is still at index at; 0 means absent.
func Check(key string, at Index) Op { return Op{Kind: OpCheck, Key: key, Index: at} }

// KV is the contract. All methods may be called at once from many goroutines,
// and values handed in or out belong to the caller afterwards.
//
// A key is printable text, at most 4096 bytes of UTF-8, in steps that are separated
// by single slashes, none of them "." or "..", and without a space at either end. Every
// implementation takes at least 32 ops and 256 KiB of values in one Apply.
type KV interface {
	// Get returns the pair at key, or ErrNotFound. It has every write that was
	// acknowledged before the call, and every one that a List of this KV told of.
	Get(ctx context.Context, key string) (Pair, error)

	// List returns all pairs whose key begins with prefix, in the order of their
	// keys, and the index to wait after, which is never 0: the pairs have every
	// change of the prefix up to it. With after 0 they also have every write that was acknowledged
	// before the call, or that a List of this KV told of.
	//
	// With after > 0 it first waits until something under prefix is changed by a
	// write with a larger index, or ctx ends (which is an error). Deletions count
	// as changes, but what was made and deleted again meanwhile may go untold. It
	// may return without a change, and when the index comes back
	// smaller than after, the store has lost its past: what was deleted is not
	// known, and indexes from before mean nothing.
	List(ctx context.Context, prefix string, after Index) ([]Pair, Index, error)

	// Apply does all ops or none, durably, and returns the index that every
	// written key now has; if nothing was written, an index of the past. It fails
	// with ErrConflict if one condition does not hold. No key may occur twice in
	// ops. An error is certain that nothing was written, unless it is ErrUncertain.
	Apply(ctx context.Context, ops ...Op) (Index, error)
}
