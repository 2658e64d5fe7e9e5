package cluster_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
)

// fate is what becomes of a write.
type fate int

const (
	done    fate = iota
	refused      // nothing happens, and the caller knows
	lost         // it is done, and the answer is lost
	fates
)

// wire is one host's way to a store that all share. It can be cut, and what a lease
// holds then ends some time later, as in a real store.
type wire struct {
	*memstore.Store

	ttl time.Duration

	mu     sync.Mutex // guards all below
	fates  []fate
	cut    context.Context //nolint:containedctx // it ends with the connection
	sever  context.CancelFunc
	leases map[string]*wireLease
}

type wireLease struct {
	store.Lease

	once sync.Once
	done chan struct{}
}

// Done implements [store.Lease].
func (l *wireLease) Done() <-chan struct{} { return l.done }

func newWire(shared *memstore.Store, ttl time.Duration) *wire {
	w := &wire{Store: shared, ttl: ttl, leases: make(map[string]*wireLease)}
	w.cut, w.sever = context.WithCancel(context.Background())
	return w
}

func (w *wire) isCut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut.Err() != nil
}

// disconnect cuts the host off. The holder takes its leases for lost after the TTL, and the
// store ends them then or later.
func (w *wire) disconnect() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sever()
	for id, l := range w.leases {
		time.AfterFunc(w.ttl, func() {
			if w.isCut() {
				l.once.Do(func() { close(l.done) })
				_ = w.Revoke(context.Background(), id) // a store in memory has no trouble
			}
		})
	}
}

func (w *wire) connect() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut.Err() != nil {
		w.cut, w.sever = context.WithCancel(context.Background())
	}
}

// end ends what the host holds, as the store does some time after its process.
func (w *wire) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.leases {
		_ = w.Revoke(context.Background(), id) // a store in memory has no trouble
		delete(w.leases, id)
	}
}

func (w *wire) meet(fates []fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fates = fates
}

// next is the fate of a write.
func (w *wire) next() fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut.Err() != nil {
		return refused
	}
	if len(w.fates) == 0 {
		return done
	}
	next := w.fates[0]
	w.fates = w.fates[1:]
	return next
}

func (w *wire) Get(ctx context.Context, key string) (store.Pair, error) {
	if w.isCut() {
		return store.Pair{}, store.ErrUnavailable
	}
	return w.Store.Get(ctx, key)
}

func (w *wire) List(ctx context.Context, prefix string, after store.Index) ([]store.Pair, store.Index, error) {
	w.mu.Lock()
	cut := w.cut
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(cut, cancel)() //nolint:contextcheck // the cut is not the caller's
	pairs, index, err := w.Store.List(ctx, prefix, after)
	if cut.Err() != nil {
		return nil, 0, store.ErrUnavailable
	}
	return pairs, index, err
}

func (w *wire) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	switch w.next() {
	case refused:
		return 0, store.ErrUnavailable
	case lost:
		_, err := w.Store.Apply(ctx, ops...)
		if errors.Is(err, store.ErrConflict) {
			return 0, err
		}
		return 0, errors.Join(store.ErrUncertain, err)
	case done, fates:
	}
	return w.Store.Apply(ctx, ops...)
}

func (w *wire) Lease(ctx context.Context, opts store.LeaseOptions) (store.Lease, error) {
	if w.isCut() {
		return nil, store.ErrUnavailable
	}
	l, err := w.Store.Lease(ctx, opts)
	if err != nil {
		return nil, err
	}
	wl := &wireLease{Lease: l, done: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leases[l.ID()] = wl
	go func() {
		<-l.Done() // every lease is ended at the end of the test
		wl.once.Do(func() { close(wl.done) })
	}()
	return wl, nil
}

// disk is a host's own store, at which its process may be killed before or after a
// write.
type disk struct {
	*memstore.Store

	mu   sync.Mutex // guards all below
	left int        // so many writes are done before the process is killed; less than 0 is never
	kind fate       // of the write that it is killed at
	dead bool
}

var errKilled = errors.New("killed")

func (d *disk) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	d.mu.Lock()
	if d.dead {
		d.mu.Unlock()
		return 0, errKilled
	}
	if d.left == 0 {
		d.dead = true
	} else if d.left > 0 {
		d.left--
	}
	dead, kind := d.dead, d.kind
	d.mu.Unlock()
	if dead && kind == refused {
		return 0, errKilled
	}
	at, err := d.Store.Apply(ctx, ops...)
	if dead {
		return 0, errKilled
	}
	return at, err
}

// killAfter kills the process at the write after so many.
func (d *disk) killAfter(writes int, kind fate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left, d.kind = writes, kind
}

func (d *disk) isDead() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dead
}

// revive is the start of another process.
func (d *disk) revive() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left, d.dead = -1, false
}

var _ cluster.Store = (*wire)(nil)
