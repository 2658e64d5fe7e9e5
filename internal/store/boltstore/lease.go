package boltstore

import (
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/ournet/ournet/internal/store"
)

// Lease implements [store.Leaser]. Nobody but this process has the file, so a lease
// needs no sign of life: it ends when it is ended, and with the process. After a
// crash its keys are freed when the file is opened next.
func (s *Store) Lease(ctx context.Context, opts store.LeaseOptions) (store.Lease, error) {
	return s.leases.Take(ctx, opts, s.Revoke)
}

// Revoke implements [store.Leaser].
func (s *Store) Revoke(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("end lease %s: %w", id, err)
	}
	if _, live := s.leases.OnLoss(id); !live {
		return nil
	}
	if err := s.call(ctx, &call{end: id, done: make(chan struct{})}); err != nil {
		return fmt.Errorf("end lease %s: %w", id, err)
	}
	return nil
}

// holder returns the lease that holds key, or "".
func holder(tx *bbolt.Tx, key string) string {
	held := tx.Bucket([]byte(bucketHeld))
	if held == nil {
		return ""
	}
	raw := held.Get([]byte(key))
	if len(raw) == 0 {
		return ""
	}
	return string(raw[1:])
}

// mayHold reports whether op may make its lease the holder, and why not in c.
func (s *Store) mayHold(tx *bbolt.Tx, c *call, op store.Op) bool {
	if op.Lease == "" {
		return true
	}
	if _, live := s.leases.OnLoss(op.Lease); !live {
		c.err = fmt.Errorf("key %q: %w", op.Key, store.ErrLeaseLost)
	} else if now := holder(tx, op.Key); now != "" && now != op.Lease {
		c.err = fmt.Errorf("another lease holds key %q: %w", op.Key, store.ErrConflict)
	}
	return c.err == nil
}

// hold keeps bucket "held" in step with op, which was just done.
func (s *Store) hold(tx *bbolt.Tx, op store.Op) error {
	switch {
	case op.Lease != "":
		held, err := tx.CreateBucketIfNotExists([]byte(bucketHeld))
		if err != nil {
			return err
		}
		onLoss, _ := s.leases.OnLoss(op.Lease)
		return held.Put([]byte(op.Key), append([]byte{byte(onLoss)}, op.Lease...))
	case op.Kind == store.OpDelete, op.Kind == store.OpDeleteCAS:
		if held := tx.Bucket([]byte(bucketHeld)); held != nil {
			return held.Delete([]byte(op.Key))
		}
	}
	return nil
}

// free releases or removes what lease c.end holds.
func (c *call) free(tx *bbolt.Tx, index store.Index, onLoss store.OnLoss) (store.Index, error) {
	held := tx.Bucket([]byte(bucketHeld))
	c.index = index
	if held == nil {
		return index, nil
	}
	err := held.ForEach(func(key, raw []byte) error {
		if len(raw) > 0 && string(raw[1:]) == c.end {
			c.changed = append(c.changed, string(key))
		}
		return nil
	})
	if err != nil || len(c.changed) == 0 {
		return index, err
	}
	c.index = index + 1
	for _, key := range c.changed {
		if err := freeKey(tx, key, c.index, onLoss); err != nil {
			return index, fmt.Errorf("free key %q: %w", key, err)
		}
	}
	return c.index, nil
}

func freeKey(tx *bbolt.Tx, key string, index store.Index, onLoss store.OnLoss) error {
	kv, held := tx.Bucket([]byte(bucketKV)), tx.Bucket([]byte(bucketHeld))
	if err := held.Delete([]byte(key)); err != nil {
		return err
	}
	raw := kv.Get([]byte(key))
	if raw == nil { // a version that knows no leases deleted it
		return nil
	}
	if onLoss == store.Remove {
		return kv.Delete([]byte(key))
	}
	pair, err := decode([]byte(key), raw)
	if err != nil {
		return err
	}
	return kv.Put([]byte(key), encode(pair.Value, index))
}

// endLeases frees all held keys: their leases ended with the process that had the
// file open before. It returns the index after that.
func endLeases(db *bbolt.DB, index store.Index) (store.Index, error) {
	keys := make(map[string]store.OnLoss)
	err := db.View(func(tx *bbolt.Tx) error {
		held := tx.Bucket([]byte(bucketHeld))
		if held == nil {
			return nil
		}
		return held.ForEach(func(key, raw []byte) error {
			if len(raw) == 0 {
				return damaged(fmt.Errorf("holder of key %q is empty", key))
			}
			keys[string(key)] = store.OnLoss(raw[0])
			return nil
		})
	})
	if err != nil || len(keys) == 0 {
		return index, err
	}
	index++
	err = db.Update(func(tx *bbolt.Tx) error {
		for key, onLoss := range keys {
			if err := freeKey(tx, key, index, onLoss); err != nil {
				return fmt.Errorf("free key %q: %w", key, err)
			}
		}
		return putUint(tx.Bucket([]byte(bucketMeta)), keyIndex, uint64(index))
	})
	return index, err
}
