package store

import (
	"context"
	"errors"
	"time"
)

// OnLoss says what becomes of the keys that a lease holds when it ends.
type OnLoss uint8

// What becomes of held keys.
const (
	// Release leaves the keys, held by nobody.
	Release OnLoss = iota
	// Remove deletes the keys.
	Remove
)

// LeaseOptions say what a lease is to be like.
type LeaseOptions struct {
	// Name is for people who look at the store.
	Name string
	// TTL is how long the lease outlives its last sign of life. The store ends it
	// no sooner, and may take twice as long.
	TTL time.Duration
	// OnLoss is what becomes of its keys, however it ends.
	OnLoss OnLoss
}

// Check reports options that no implementation may accept.
func (o LeaseOptions) Check() error {
	if o.TTL <= 0 {
		return errors.New("a lease has to have a TTL")
	}
	if o.OnLoss > Remove {
		return errors.New("unknown end of a lease")
	}
	return nil
}

// Lease is a claim on keys (see [Hold]) that ends with its holder: the process that
// took it keeps it alive, and when that process is gone, others see its keys
// released or removed.
type Lease interface {
	// ID names the lease in [Hold] and [Pair].
	ID() string

	// Done is closed when the lease has ended or has to be taken for lost,
	// because the store was out of reach for its TTL. That is no later than others
	// may see its keys free. A lost lease never comes back; the holder takes a new
	// one and holds its keys again.
	Done() <-chan struct{}

	// End ends the lease; its keys are free when it returns. It may be called
	// more than once, and also after the lease was lost, which makes sure that
	// the store knows it too. If it fails, the lease lives on.
	End(ctx context.Context) error
}

// Leaser is the part of a store that hands out leases.
type Leaser interface {
	// Lease takes a lease. ctx bounds the taking, not the lease.
	Lease(ctx context.Context, opts LeaseOptions) (Lease, error)

	// Revoke ends the lease with that id, whoever took it; one that is not known
	// has ended. A holder in another process learns of it at its next sign of life.
	Revoke(ctx context.Context, id string) error
}
