// Package netnstest gives tests network namespaces of their own, so that they can
// try links, rules and sockets on the real kernel and touch nothing of the machine.
//
// Every function fails the test without root: a kernel test that skips itself
// says nothing.
package netnstest

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace that lives as long as the test that made it.
type Namespace struct {
	handle netns.NsHandle
	nl     *netlink.Handle
}

// Enter puts the test's own goroutine into a new namespace for good: its thread is
// never unlocked and dies with the test. Call t.Parallel before it. Goroutines and
// subtests that start later are not inside; see [Namespace.Do] for those.
func Enter(t testing.TB) *Namespace {
	t.Helper()
	ns := New(t)
	runtime.LockOSThread() // never unlocked, so that no other goroutine gets this thread
	if err := netns.Set(ns.handle); err != nil {
		t.Fatalf("enter the network namespace: %v", err)
	}
	return ns
}

// New makes a namespace with loopback up, and removes it at the end of the test.
func New(t testing.TB) *Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("kernel tests need root")
	}
	ns := &Namespace{}
	if err := onThread(func() error {
		var err error
		if ns.handle, err = netns.New(); err != nil {
			return err
		}
		if ns.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return err
		}
		// A test need not wait a second for the addresses that the kernel makes itself.
		return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0)
	}); err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() {
		ns.nl.Close()
		if err := ns.handle.Close(); err != nil {
			t.Errorf("close the network namespace: %v", err)
		}
	})
	ns.up(t, "lo")
	return ns
}

// Do runs f inside the namespace, on a thread that is thrown away afterwards, and
// waits for it. f must not call t.Fatal; it returns its error instead.
// Sockets and processes that f starts belong to the namespace.
func (ns *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(ns.handle); err != nil {
			return err
		}
		return f()
	})
}

// Path is where other programs find the namespace while the test runs.
func (ns *Namespace) Path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(ns.handle))
}

// Run is [Namespace.Do] for what must not fail.
func (ns *Namespace) Run(t testing.TB, f func() error) {
	t.Helper()
	if err := ns.Do(f); err != nil {
		t.Fatal(err)
	}
}

// onThread runs f on a thread of its own. The goroutine ends while it is locked to
// the thread, so the Go runtime ends the thread with it and a changed namespace
// never leaks to other goroutines.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}
