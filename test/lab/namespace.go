package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Namespace returns the file of the machine's network namespace, as the lab's owner
// sees it. It is another one after every boot.
func (m *Machine) Namespace() (string, error) {
	first, err := m.first()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/%d/ns/net", first.PID), nil
}

// InNamespace runs one of this machine's programs in the network namespace of a file,
// which may be a container's, and returns its standard output. If it fails the error is
// a [*CommandError].
func InNamespace(ctx context.Context, file string, argv ...string) (string, error) {
	return run(command(ctx, append([]string{"nsenter", "--net=" + file, "--"}, argv...)), argv)
}

// StartInNamespace is [InNamespace] in the background.
func StartInNamespace(ctx context.Context, file string, argv ...string) (*Running, error) {
	return background(command(ctx, append([]string{"nsenter", "--net=" + file, "--"}, argv...)), argv)
}

// Within runs f in the network namespace of a file, which may be a container's. Sockets
// that f opens stay in it. f must not start goroutines that open others.
func Within(file string, f func() error) error {
	return OnThread(func() error {
		ns, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("open the network namespace: %w", err)
		}
		if err := errors.Join(unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET), ns.Close()); err != nil {
			return fmt.Errorf("enter %s: %w", file, err)
		}
		return f()
	})
}

// OnThread runs f on a thread that ends with it, so that no other code gets into the
// namespaces that f enters.
func OnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}
