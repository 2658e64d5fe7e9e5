package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
)

// Leases are the leases of an implementation that no other process shares. They
// need no sign of life: they end when they are ended, or with the process.
type Leases struct {
	mu   sync.Mutex // guards live
	live map[string]*localLease
}

// NewLeases returns a store's leases; there are none.
func NewLeases() *Leases { return &Leases{live: make(map[string]*localLease)} }

// Take makes a lease, if opts are sound and ctx has not ended. Its End calls end with
// its id.
func (l *Leases) Take(ctx context.Context, opts LeaseOptions, end func(ctx context.Context, id string) error) (Lease, error) {
	if err := errors.Join(ctx.Err(), opts.Check()); err != nil {
		return nil, fmt.Errorf("take a lease: %w", err)
	}
	lease := &localLease{id: rand.Text(), onLoss: opts.OnLoss, done: make(chan struct{}), end: end}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live[lease.id] = lease
	return lease, nil
}

// OnLoss returns what becomes of the keys of a lease, and whether it lives.
func (l *Leases) OnLoss(id string) (OnLoss, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lease, ok := l.live[id]
	if !ok {
		return Release, false
	}
	return lease.onLoss, true
}

// Drop ends the lease for its holder. It is called after the keys are free.
func (l *Leases) Drop(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lease, ok := l.live[id]; ok {
		delete(l.live, id)
		close(lease.done)
	}
}

// Close ends all leases for their holders.
func (l *Leases) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, lease := range l.live {
		delete(l.live, id)
		close(lease.done)
	}
}

type localLease struct {
	id     string
	onLoss OnLoss
	done   chan struct{}
	end    func(ctx context.Context, id string) error
}

// ID implements [Lease].
func (l *localLease) ID() string { return l.id }

// Done implements [Lease].
func (l *localLease) Done() <-chan struct{} { return l.done }

// End implements [Lease].
func (l *localLease) End(ctx context.Context) error { return l.end(ctx, l.id) }
