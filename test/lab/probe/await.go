package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sync/errgroup"
)

// arrival is what await prints: how long after the container's first instruction it
// answered and its name resolved, in microseconds. A name may resolve before.
type arrival struct {
	ReachedUS  int64 `json:"reached_us"`
	ResolvedUS int64 `json:"resolved_us"`
}

// await asks for a container that has not been started, until it answers (see arrive)
// and its name resolves.
func await(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("await", flag.ContinueOnError)
	server := flags.String("server", resolver, "`address` of the name server")
	every := flags.Duration("every", time.Millisecond, "time between two datagrams")
	names := flags.Duration("names", 5*time.Millisecond, "time between two queries: each goes a long way in vain")
	timeout := flags.Duration("timeout", 30*time.Second, "how long to wait")
	if err := flags.Parse(args); err != nil {
		return err
	}
	to, err := netip.ParseAddrPort(flags.Arg(0))
	if err != nil || flags.NArg() != 2 {
		return errors.New("await: want an address with a port, and a name")
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	if _, err := fmt.Fprintln(out, "waiting"); err != nil {
		return err
	}
	var reached, resolved, begun time.Duration
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		begun, reached, err = awaitAnswer(gctx, to, *every)
		return err
	})
	g.Go(func() (err error) {
		resolved, err = awaitName(gctx, *server, flags.Arg(1), *names)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	text, err := json.Marshal(arrival{(reached - begun).Microseconds(), (resolved - begun).Microseconds()})
	if err != nil {
		return fmt.Errorf("encode the times: %w", err)
	}
	_, err = fmt.Fprintln(out, string(text))
	return err
}

// awaitAnswer returns when the container began, as it says itself, and when its first
// answer came. Before each question it asks for the neighbour, too: the kernel does so
// once a second only, which would be all that is measured.
func awaitAnswer(ctx context.Context, to netip.AddrPort, every time.Duration) (begun, reached time.Duration, err error) {
	call, err := newCaller(to.Addr())
	if err != nil {
		return 0, 0, err
	}
	answer, reached, err := askOften(ctx, to.String(), every, func(conn net.Conn) error {
		if err := call.call(); err != nil {
			return err
		}
		_, err := io.WriteString(conn, "?")
		return err
	}, func([]byte) bool { return true })
	if err := errors.Join(err, call.close()); err != nil {
		return 0, 0, fmt.Errorf("wait for %s: %w", to, err)
	}
	ns, err := strconv.ParseInt(string(answer), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("read when it began: %w", err)
	}
	return time.Duration(ns), reached, nil
}

// awaitName returns when the server first knew an address of the name.
func awaitName(ctx context.Context, server, name string, every time.Duration) (time.Duration, error) {
	query, err := question4(name)
	if err != nil {
		return 0, err
	}
	var last []byte
	_, resolved, err := askOften(ctx, server, every, func(conn net.Conn) error {
		_, err := conn.Write(query)
		return err
	}, func(message []byte) bool {
		last = append(last[:0], message...)
		return hasAnswer(message)
	})
	if err != nil {
		return 0, fmt.Errorf("wait for the name %s: %w; the last answer was %q", name, err, last)
	}
	return resolved, nil
}

// askOften asks again and again, whether or not there are answers, until one is what is
// wanted, and returns it and when it came.
func askOften(ctx context.Context, to string, every time.Duration, ask func(net.Conn) error, wanted func([]byte) bool) (got []byte, when time.Duration, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", to)
	if err != nil {
		return nil, 0, fmt.Errorf("call: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends Read
	var g errgroup.Group
	g.Go(func() error {
		defer cancel()
		buf := make([]byte, 2048)
		for {
			n, err := conn.Read(buf)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				continue // an ICMP error: it is not there yet
			case wanted(buf[:n]):
				got = buf[:n]
				when, err = monotonic()
				return err
			}
		}
	})
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		// The kernel keeps what it has no neighbour for, until the socket is full.
		if err := conn.SetWriteDeadline(time.Now().Add(every)); err != nil {
			break // it was closed
		}
		_ = ask(conn) // what is not there cannot be sent to; the wait has an end
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	return got, when, g.Wait()
}

// hasAnswer reports whether a DNS message says that there is something.
func hasAnswer(message []byte) bool {
	var m dnsmessage.Message
	return m.Unpack(message) == nil && m.RCode == dnsmessage.RCodeSuccess && len(m.Answers) > 0
}
