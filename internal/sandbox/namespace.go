package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace is an open network namespace. While it is open, the kernel keeps it.
type namespace struct {
	file *os.File
	id   identity
}

// identity tells namespaces apart; keys are used again.
type identity struct{ device, inode uint64 }

// openNamespace opens the namespace at a path. The engine first makes a file and
// then mounts the namespace on it: the file alone is none.
func openNamespace(path string) (*namespace, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, err
	}
	ns := &namespace{file: file}
	if ns.id, err = identifyFile(file); err != nil {
		ns.close()
		return nil, err
	}
	return ns, nil
}

// close lets go of it. Nothing was written, so nothing can be lost.
func (ns *namespace) close() { _ = ns.file.Close() }

// identify returns which namespace is at a path.
func identify(path string) (identity, error) {
	ns, err := openNamespace(path)
	if err != nil {
		return identity{}, err
	}
	defer ns.close()
	return ns.id, nil
}

func identifyFile(file *os.File) (id identity, err error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return identity{}, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var (
			kind unix.Statfs_t
			stat unix.Stat_t
		)
		if err = unix.Fstatfs(int(fd), &kind); err != nil {
			return
		}
		if kind.Type != unix.NSFS_MAGIC {
			err = ErrGone
			return
		}
		err = unix.Fstat(int(fd), &stat)
		id = identity{device: stat.Dev, inode: stat.Ino}
	})
	return id, errors.Join(cerr, err)
}

// do runs f inside the namespace, on a thread of its own that ends with it: a
// thread that changed its namespace must never run anything else. Sockets that f
// opens stay in the namespace. f must not start goroutines that open others.
func (ns *namespace) do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, see above
		done <- ns.enterAnd(f)
	}()
	return <-done
}

func (ns *namespace) enterAnd(f func() error) error {
	raw, err := ns.file.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) { err = unix.Setns(int(fd), unix.CLONE_NEWNET) })
	if err := errors.Join(cerr, err); err != nil {
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	return f()
}
