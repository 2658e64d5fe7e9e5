package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// inMountNamespace runs f on a thread with mounts of its own, which end with it.
func inMountNamespace(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its mounts
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// sameMounts runs f on another thread, with the mounts of that one.
func sameMounts(thread int, f func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, as above
		done <- func() error {
			fd, err := unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/mnt", thread), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer func() { _ = unix.Close(fd) }()
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return err
			}
			if err := unix.Setns(fd, unix.CLONE_NEWNS); err != nil {
				return err
			}
			return f()
		}()
	}()
	return done
}

// The engine makes the folder, then a file, then mounts the namespace on it.
func TestAwait_endsWhenTheNamespaceIsThere(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c := h.start("source")
	s := h.sandboxes(Options{})
	dir := filepath.Join(h.root, "run/other/netns")
	err := inMountNamespace(func() error {
		s.mounts = "/proc/thread-self/mountinfo"
		var mounted atomic.Bool
		made := sameMounts(unix.Gettid(), func() error {
			path := filepath.Join(dir, "a")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				return err
			}
			// Other mounts come and go.
			if err := unix.Mount("none", t.TempDir(), "tmpfs", 0, ""); err != nil {
				return err
			}
			mounted.Store(true)
			return unix.Mount(c.path, path, "", unix.MS_BIND, "")
		})
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err := s.Await(ctx, "/run/other/netns/a")
		if !mounted.Load() {
			t.Error("it did not wait")
		}
		return errors.Join(err, <-made)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAwait_endsWithTheContext(t *testing.T) {
	t.Parallel()
	s := newHost(t).sandboxes(Options{})
	s.mounts = "/proc/self/mountinfo"
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Await(ctx, "/run/docker/netns/never") }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Await = %v, want that the context ended", err)
	}
}

func TestAwait_whatIsThereIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	s := h.sandboxes(Options{})
	s.mounts = "/proc/self/mountinfo"
	if err := s.Await(t.Context(), h.start("a").key); err != nil {
		t.Error(err)
	}
}
