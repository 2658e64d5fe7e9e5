package boltstore

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/ournet/ournet/internal/store"
)

// errNothing rolls back a transaction in which no call wrote anything, so that
// it costs no write to the disk.
var errNothing = errors.New("nothing to write")

// call is one Apply, or the end of one lease, on its way through the writer.
type call struct {
	ops []store.Op
	end string // the lease to end, if it is that

	// Set by the writer before done is closed.
	index   store.Index
	changed []string
	err     error
	done    chan struct{}
}

// Apply implements [store.KV]. Once the writer has taken it up, it is finished
// even if ctx ends: a write is on the disk or not, and only the writer knows.
func (s *Store) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	if err := store.CheckOps(ops); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("apply: %w", err)
	}
	c := &call{ops: ops, done: make(chan struct{})}
	if err := s.call(ctx, c); err != nil {
		return 0, fmt.Errorf("apply: %w", err)
	}
	return c.index, nil
}

// call hands c to the writer and waits until it is done.
func (s *Store) call(ctx context.Context, c *call) error {
	// The channel has no buffer: what is not received was certainly not written.
	select {
	case s.calls <- c:
	case <-s.closing:
		return store.ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("wait for the writer of %s: %w", s.path, ctx.Err())
	}
	<-c.done
	return c.err
}

// write is the one goroutine that changes the file. It ends when Close begins.
func (s *Store) write() {
	defer close(s.written)
	for {
		select {
		case c := <-s.calls:
			s.commit(s.gather(c))
		case <-s.closing:
			return
		}
	}
}

// gather adds to first whatever else is waiting now. It does not wait itself.
func (s *Store) gather(first *call) []*call {
	batch := []*call{first}
	for len(batch) < maxBatch {
		select {
		case c := <-s.calls:
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// commit judges and applies the calls in order, in one transaction.
func (s *Store) commit(batch []*call) {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		before, err := readIndex(tx)
		if err != nil {
			return err
		}
		index := before
		for _, c := range batch {
			if index, err = s.do(tx, c, index); err != nil {
				return err
			}
		}
		if index == before {
			return errNothing
		}
		return putUint(tx.Bucket([]byte(bucketMeta)), keyIndex, uint64(index))
	})
	for _, c := range batch {
		if err != nil && !errors.Is(err, errNothing) {
			c.err = s.explain(err)
		}
		if c.err == nil && len(c.changed) > 0 {
			s.changes.Record(c.index, c.changed...)
		}
		if c.err == nil && c.end != "" {
			s.leases.Drop(c.end)
		}
		close(c.done)
	}
}

// do does one call at index and returns the index after it. A condition that
// does not hold is the call's own error; an error that is returned is the file's
// and spoils the whole transaction.
func (s *Store) do(tx *bbolt.Tx, c *call, index store.Index) (store.Index, error) {
	if c.end != "" {
		// Of two ends of one lease in a batch the second finds nothing.
		onLoss, _ := s.leases.OnLoss(c.end)
		return c.free(tx, index, onLoss)
	}
	kv := tx.Bucket([]byte(bucketKV))
	for _, op := range c.ops {
		var at store.Index
		if raw := kv.Get([]byte(op.Key)); raw != nil {
			var err error
			if at, err = indexOf([]byte(op.Key), raw); err != nil {
				return index, err
			}
		}
		if !op.Holds(at) {
			c.err = fmt.Errorf("key %q is at index %d, not %d: %w", op.Key, at, op.Index, store.ErrConflict)
			return index, nil
		}
		if !s.mayHold(tx, c, op) {
			return index, nil
		}
		if op.Writes(at) {
			c.changed = append(c.changed, op.Key)
		}
	}
	c.index = index
	if len(c.changed) == 0 {
		return index, nil
	}
	c.index = index + 1
	for _, op := range c.ops {
		if err := errors.Join(write(kv, op, c.index), s.hold(tx, op)); err != nil {
			return index, fmt.Errorf("write key %q: %w", op.Key, err)
		}
	}
	return c.index, nil
}

func write(kv *bbolt.Bucket, op store.Op, index store.Index) error {
	switch op.Kind {
	case store.OpSet, store.OpCAS:
		return kv.Put([]byte(op.Key), encode(op.Value, index))
	case store.OpDelete, store.OpDeleteCAS:
		return kv.Delete([]byte(op.Key))
	case store.OpCheck:
		return nil
	default:
		return nil
	}
}
