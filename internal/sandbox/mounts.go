package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mounts is the host's list of mounts, of which one can wait for a change.
//
// A namespace appears and goes by a mount, and whoever polls a list of mounts is woken
// when it changes (mounts_poll in fs/namespace.c), also before the folder exists that
// one could watch instead. It takes a thread while it waits.
type mounts struct {
	list         int
	wake, wakeUp *os.File
}

// openMounts opens the list at a path. What changes from here on is seen. Not by
// package os, whose runtime polls too: each change is told to one poll of a file only.
func openMounts(path string) (*mounts, error) {
	list, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	wake, wakeUp, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a pipe: %w", err), unix.Close(list))
	}
	return &mounts{list: list, wake: wake, wakeUp: wakeUp}, nil
}

// close lets go of it: it was only polled, and nothing was written to the pipe.
func (m *mounts) close() { _, _, _ = m.wake.Close(), m.wakeUp.Close(), unix.Close(m.list) }

// wait waits for a change. It fails when ctx has ended, and from then on always.
func (m *mounts) wait(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = m.wakeUp.Close() })()
	fds := []unix.PollFd{
		{Fd: int32(m.list), Events: unix.POLLPRI},     //nolint:gosec // a file's number
		{Fd: int32(m.wake.Fd()), Events: unix.POLLIN}, //nolint:gosec // a file's number
	}
	if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for a change of mounts: %w", err)
	}
	return ctx.Err()
}
