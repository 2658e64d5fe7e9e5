// Package boltstore is a [store.KV] in one file of this host, for ournet without
// a cluster store. Every write is on the disk before it is acknowledged.
//
// A write to the disk takes some milliseconds, however small it is. So one
// goroutine does all the writing, and takes into one transaction whatever has
// queued up while it wrote the last one: a lone writer never waits for company,
// and two hundred at once share a handful of disk writes.
package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/ournet/ournet/internal/store"
)

// The file's layout: in bucket "kv" each key has 8 bytes of index, big-endian,
// and then its value; bucket "meta" holds the format and the last index. Bucket
// "held" has the keys that a lease holds: a byte that says what becomes of the key,
// and then the lease's id. It is made when it is first needed; a version that does
// not know it takes those keys for keys like all others.
const (
	bucketKV   = "kv"
	bucketMeta = "meta"
	bucketHeld = "held"
	keyIndex   = "index"
	keyFormat  = "format"

	// format is the version of this layout.
	format = 1
)

// maxBatch bounds the writes in one transaction, so that the first of them does
// not wait for ever while others keep coming.
const maxBatch = 1024

// Store is a [store.KV] in one file.
type Store struct {
	path    string
	db      *bbolt.DB
	changes *store.Changes
	leases  *store.Leases
	calls   chan *call

	closeOnce sync.Once
	closing   chan struct{} // closed when Close begins
	written   chan struct{} // closed when the writer has ended
	closeErr  error         // set before Close returns
}

var (
	_ store.KV     = (*Store)(nil)
	_ store.Leaser = (*Store)(nil)
)

// Get implements [store.KV].
func (s *Store) Get(ctx context.Context, key string) (store.Pair, error) {
	if err := ctx.Err(); err != nil {
		return store.Pair{}, fmt.Errorf("get %q: %w", key, err)
	}
	var pair store.Pair
	err := s.db.View(func(tx *bbolt.Tx) error {
		raw := tx.Bucket([]byte(bucketKV)).Get([]byte(key))
		if raw == nil {
			return store.ErrNotFound
		}
		var err error
		if pair, err = decode([]byte(key), raw); err != nil {
			return err
		}
		pair.Lease = holder(tx, key)
		return nil
	})
	if err != nil {
		return store.Pair{}, fmt.Errorf("get %q: %w", key, s.explain(err))
	}
	return pair, nil
}

// List implements [store.KV]. A file that was opened anew does not know what was
// deleted before, so the first wait after an older index returns at once.
func (s *Store) List(ctx context.Context, prefix string, after store.Index) ([]store.Pair, store.Index, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, fmt.Errorf("list %q: %w", prefix, err)
	}
	if after > 0 {
		if err := s.changes.Wait(ctx, prefix, after); err != nil {
			return nil, 0, fmt.Errorf("list %q: wait for a change after %d: %w", prefix, after, err)
		}
	}
	var (
		pairs []store.Pair
		index store.Index
	)
	err := s.db.View(func(tx *bbolt.Tx) error {
		var err error
		if pairs, err = list(tx, prefix); err != nil {
			return err
		}
		index, err = readIndex(tx)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list %q: %w", prefix, s.explain(err))
	}
	return pairs, index, nil
}

// Close waits for the writes that were begun, and closes the file. Every call
// after that fails with [store.ErrClosed].
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		close(s.closing)
		<-s.written
		s.changes.Close()
		s.leases.Close()
		if err := s.db.Close(); err != nil {
			s.closeErr = fmt.Errorf("close %s: %w", s.path, err)
		}
	})
	return s.closeErr
}

// explain names the file in errors that are of the file and not of the caller.
func (s *Store) explain(err error) error {
	switch {
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return store.ErrClosed
	case errors.Is(err, store.ErrNotFound):
		return err
	default:
		return fmt.Errorf("store file %s: %w", s.path, err)
	}
}

func list(tx *bbolt.Tx, prefix string) ([]store.Pair, error) {
	var pairs []store.Pair
	c := tx.Bucket([]byte(bucketKV)).Cursor()
	for k, v := c.Seek([]byte(prefix)); k != nil && len(k) >= len(prefix) && string(k[:len(prefix)]) == prefix; k, v = c.Next() {
		pair, err := decode(k, v)
		if err != nil {
			return nil, err
		}
		pair.Lease = holder(tx, pair.Key)
		pairs = append(pairs, pair)
	}
	return pairs, nil
}

// decode copies: what bbolt hands out is the mapped file itself.
func decode(key, raw []byte) (store.Pair, error) {
	index, err := indexOf(key, raw)
	if err != nil {
		return store.Pair{}, err
	}
	return store.Pair{Key: string(key), Value: append([]byte{}, raw[8:]...), Index: index}, nil
}

func encode(value []byte, index store.Index) []byte {
	raw := make([]byte, 8, 8+len(value))
	binary.BigEndian.PutUint64(raw, uint64(index))
	return append(raw, value...)
}

func indexOf(key, raw []byte) (store.Index, error) {
	if len(raw) < 8 {
		return 0, fmt.Errorf("key %q has %d bytes, less than its index takes", key, len(raw))
	}
	return store.Index(binary.BigEndian.Uint64(raw)), nil
}

// readIndex returns the index of the last write. That of a store without writes is 1
// to callers: they cannot wait after 0.
func readIndex(tx *bbolt.Tx) (store.Index, error) {
	raw := tx.Bucket([]byte(bucketMeta)).Get([]byte(keyIndex))
	if len(raw) != 8 {
		return 0, fmt.Errorf("index has %d bytes, not 8", len(raw))
	}
	return max(1, store.Index(binary.BigEndian.Uint64(raw))), nil
}

func putUint(b *bbolt.Bucket, key string, n uint64) error {
	return b.Put([]byte(key), binary.BigEndian.AppendUint64(nil, n))
}
