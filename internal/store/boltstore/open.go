package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"github.com/ournet/ournet/internal/store"
)

// lockTimeout is how long Open waits for another process to let go of the file:
// long enough for one that is just ending, short for one that stays.
const lockTimeout = 2 * time.Second

// Sentinel errors of [Open]; test them with [errors.Is].
var (
	// ErrLocked says that another process has the file open.
	ErrLocked = errors.New("store file is in use by another process")
	// ErrDamaged says that the file cannot be read as a store.
	ErrDamaged = errors.New("store file is damaged")
	// ErrNewer says that a newer version of ournet wrote the file.
	ErrNewer = errors.New("store file was written by a newer version of ournet")
)

// Open opens the store in the file at path, and makes file and folder if they do
// not exist. It waits up to two seconds for the file's lock, or until ctx ends,
// and reads the whole file once to find damage now and not in a handler. The
// caller closes the store.
func Open(ctx context.Context, path string) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open store file %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open store file: make its folder: %w", err)
	}
	timeout := lockTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, max(time.Until(deadline), time.Millisecond))
	}
	db, err := openFile(path, timeout)
	if err != nil {
		return nil, fmt.Errorf("open store file %s: %w", path, err)
	}
	index, err := prepare(db, path)
	if err == nil {
		index, err = endLeases(db, index)
	}
	if err != nil {
		return nil, fmt.Errorf("open store file %s: %w", path, errors.Join(err, db.Close()))
	}
	s := &Store{
		path:    path,
		db:      db,
		changes: store.NewChanges(index),
		leases:  store.NewLeases(),
		calls:   make(chan *call),
		closing: make(chan struct{}),
		written: make(chan struct{}),
	}
	go s.write()
	return s, nil
}

// openFile opens the file with bbolt and turns what bbolt does with a damaged
// one, which is to panic or to read past the end of the mapping, into an error.
func openFile(path string, timeout time.Duration) (db *bbolt.DB, err error) {
	var file *os.File
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, damaged(fmt.Errorf("%v", p))
			if file != nil {
				// bbolt's mapping stays, and would hold the lock with it.
				err = errors.Join(err, unix.Flock(int(file.Fd()), unix.LOCK_UN), file.Close())
			}
		}
	}()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      timeout,
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			var openErr error
			file, openErr = os.OpenFile(name, flag, mode)
			return file, openErr
		},
	})
	var errno syscall.Errno
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("%w: it kept its lock for %s; stop the other ournet, or set another state folder", ErrLocked, timeout)
	case errors.As(err, &errno): // the system's answer, not the file's content
		return nil, err
	default:
		return nil, damaged(err)
	}
}

func damaged(cause error) error {
	return fmt.Errorf("%w (%w): restore it from a backup, or move it away to start with an empty one "+
		"and create the ournet networks again", ErrDamaged, cause)
}

// prepare checks the opened file, makes the buckets in a new one, and returns
// the index of its last write.
func prepare(db *bbolt.DB, path string) (store.Index, error) {
	if err := verify(db, path); err != nil {
		return 0, err
	}
	fresh := false
	var index store.Index
	err := db.View(func(tx *bbolt.Tx) error {
		meta, kv := tx.Bucket([]byte(bucketMeta)), tx.Bucket([]byte(bucketKV))
		if meta == nil && kv == nil {
			fresh = true
			return nil
		}
		if meta == nil || kv == nil {
			return damaged(errors.New("a bucket is missing"))
		}
		if err := checkFormat(meta.Get([]byte(keyFormat))); err != nil {
			return err
		}
		var err error
		if index, err = readIndex(tx); err != nil {
			return damaged(err)
		}
		return nil
	})
	if err != nil || !fresh {
		return index, err
	}
	return 1, initialize(db, path)
}

func checkFormat(raw []byte) error {
	if len(raw) != 8 {
		return damaged(fmt.Errorf("format has %d bytes, not 8", len(raw)))
	}
	if have := binary.BigEndian.Uint64(raw); have > format {
		return fmt.Errorf("%w: its format is %d, this version knows %d; upgrade ournet", ErrNewer, have, format)
	}
	return nil
}

// verify reads every page. A file that is shorter than its own header says would
// fault at some later read, which nothing could catch.
func verify(db *bbolt.DB, path string) error {
	return db.View(func(tx *bbolt.Tx) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.Size() < tx.Size() {
			return damaged(fmt.Errorf("it has %d bytes of %d", info.Size(), tx.Size()))
		}
		var problems []error
		for problem := range tx.Check() {
			if len(problems) < 3 { // the channel must be read to its end
				problems = append(problems, problem)
			}
		}
		if len(problems) > 0 {
			return damaged(errors.Join(problems...))
		}
		return nil
	})
}

// initialize writes the buckets of a new file. The folder is synced too: without
// that a crash may lose the file's name, and with it every acknowledged write.
func initialize(db *bbolt.DB, path string) error {
	err := db.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucket([]byte(bucketKV)); err != nil {
			return err
		}
		meta, err := tx.CreateBucket([]byte(bucketMeta))
		if err != nil {
			return err
		}
		return errors.Join(putUint(meta, keyFormat, format), putUint(meta, keyIndex, 1))
	})
	if err != nil {
		return fmt.Errorf("write a new store: %w", err)
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
