package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ournet/ournet/test/lab"
)

// space is a network namespace of the bench's own, without a machine in it.
type space struct{ file *os.File }

func newSpace(ctx context.Context) (s space, err error) {
	err = lab.OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		s.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return space{}, err
	}
	return s, s.ip(ctx, "link set lo up")
}

// path is where other programs find it.
func (s space) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.file.Fd()) }

// do runs f inside.
func (s space) do(f func() error) error { return lab.Within(s.path(), f) }

// ip runs ip(8) inside.
func (s space) ip(ctx context.Context, line string) error {
	_, err := lab.InNamespace(ctx, s.path(), append([]string{"ip"}, strings.Fields(line)...)...)
	return err
}
