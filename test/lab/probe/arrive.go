package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// arrive tells whoever asks when it began. It is what a container runs whose coming
// others wait for.
func arrive(ctx context.Context, args []string, out io.Writer) error {
	begun, err := monotonic()
	if err != nil {
		return err
	}
	if len(args) != 1 {
		return errors.New("arrive: want an address")
	}
	c, err := listenPacket(ctx, args[0])
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	answer := []byte(strconv.FormatInt(int64(begun), 10))
	buf := make([]byte, 64)
	for {
		_, peer, err := c.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // its end closed the socket
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		// An answer may be lost as any datagram may; the peer asks again.
		if _, err := c.WriteTo(answer, peer); errors.Is(err, net.ErrClosed) {
			return nil
		}
	}
}

// monotonic returns the time since the machine's boot. All containers of a lab, and what
// runs beside them, have the same clock.
func monotonic() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return time.Duration(t.Nano()), nil
}
