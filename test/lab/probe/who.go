package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

func who(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("who", flag.ContinueOnError)
	timeout := flags.Duration("timeout", 2*time.Second, "how long to wait for the answer")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 2 {
		return errors.New("who: want a protocol and an address")
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, flags.Arg(0), flags.Arg(1))
	if err != nil {
		return fmt.Errorf("call: %w", err)
	}
	defer conn.Close() //nolint:errcheck // all was read
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return fmt.Errorf("set deadline: %w", err)
		}
	}
	var answer string
	if flags.Arg(0) == "tcp" {
		answer, err = bufio.NewReader(conn).ReadString('\n')
	} else {
		answer, err = ask(conn)
	}
	if err != nil {
		return fmt.Errorf("wait for the answer: %w", err)
	}
	_, err = fmt.Fprintln(out, strings.TrimSpace(answer))
	return err
}

func ask(conn net.Conn) (string, error) {
	if _, err := io.WriteString(conn, question); err != nil {
		return "", err
	}
	buf := make([]byte, 256)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

func lookup(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("lookup: want a name")
	}
	addrs, err := new(net.Resolver).LookupHost(ctx, args[0])
	if err != nil {
		return fmt.Errorf("bad address %q: %w", args[0], err)
	}
	_, err = fmt.Fprintln(out, strings.Join(addrs, "\n"))
	return err
}
