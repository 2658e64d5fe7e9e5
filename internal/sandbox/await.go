package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Await waits until there is a namespace at the key. Engines up to 27 make it after
// they have asked for the container's interfaces, and tell nobody.
//
// A namespace appears by a mount, and whoever polls a list of mounts is woken when
// it changes (mounts_poll in fs/namespace.c), also before the folder exists that one
// could watch instead. It takes a thread while it waits.
func (s *Sandboxes) Await(ctx context.Context, key string) error {
	// Opened before the first look: what changes from here on is seen. Not by package
	// os, whose runtime polls too: each change is told to one poll of a file only.
	mounts, err := unix.Open(s.mounts, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("wait for sandbox %s: open %s: %w", key, s.mounts, err)
	}
	defer func() { _ = unix.Close(mounts) }() // only polled
	wake, wakeUp, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("wait for sandbox %s: %w", key, err)
	}
	defer func() { _, _ = wake.Close(), wakeUp.Close() }() // nothing is written
	defer context.AfterFunc(ctx, func() { _ = wakeUp.Close() })()
	fds := []unix.PollFd{
		{Fd: int32(mounts), Events: unix.POLLPRI},   //nolint:gosec // a file's number
		{Fd: int32(wake.Fd()), Events: unix.POLLIN}, //nolint:gosec // a file's number
	}
	for {
		_, err := identify(s.fs.Path(key))
		if !errors.Is(err, ErrGone) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("wait for sandbox %s: %w", key, err)
		}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for sandbox %s: %w", key, err)
		}
	}
}
