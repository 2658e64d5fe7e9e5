package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"

	"golang.org/x/sync/errgroup"
)

// question is the datagram that is answered with the caller's address; each other
// one is echoed. A stream begins with that address and is echoed after it.
const question = "who"

func serve(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	tcp := flags.String("tcp", "", "`address` to serve streams on")
	udp := flags.String("udp", "", "`address` to serve datagrams on")
	dns := flags.String("dns", "", "`address` to answer DNS queries on: NAME has the address IP, no other name exists")
	name := flags.String("name", "", "`NAME`")
	addr := flags.String("addr", "0.0.0.0", "`IP`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ip, err := netip.ParseAddr(*addr)
	if err != nil || !ip.Is4() {
		return fmt.Errorf("-addr %q is not an IPv4 address", *addr)
	}
	g, ctx := errgroup.WithContext(ctx)
	if *tcp != "" {
		l, err := listen(ctx, *tcp)
		if err != nil {
			return err
		}
		g.Go(func() error { return serveStreams(ctx, l, echo) })
	}
	if *udp != "" {
		c, err := listenPacket(ctx, *udp)
		if err != nil {
			return err
		}
		g.Go(func() error { return serveDatagrams(ctx, c) })
	}
	if *dns != "" {
		c, err := listenPacket(ctx, *dns)
		if err != nil {
			return err
		}
		l, err := listen(ctx, *dns)
		if err != nil {
			return err
		}
		g.Go(func() error { return serveNames(ctx, c, *name, ip.As4()) })
		g.Go(func() error {
			return serveStreams(ctx, l, func(conn net.Conn) { answerStream(conn, *name, ip.As4()) })
		})
	}
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	return g.Wait()
}

// listen returns a listener that ends with ctx.
func listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = l.Close() }) // ends Accept
	return l, nil
}

// listenPacket returns a socket that ends with ctx.
func listenPacket(ctx context.Context, address string) (net.PacketConn, error) {
	c, err := new(net.ListenConfig).ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = c.Close() }) // ends ReadFrom
	return c, nil
}

func serveStreams(ctx context.Context, l net.Listener, with func(net.Conn)) error {
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil //nolint:nilerr // its end closed the socket
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		// It ends with its peer, or with this process.
		go with(conn)
	}
}

func echo(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // the peer's loss shows at the peer
	if _, err := fmt.Fprintln(conn, conn.RemoteAddr()); err == nil {
		_, _ = io.Copy(conn, conn) // likewise
	}
}

func serveDatagrams(ctx context.Context, c net.PacketConn) error {
	buf := make([]byte, 64<<10)
	for {
		n, peer, err := c.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // its end closed the socket
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		answer := buf[:n]
		if string(answer) == question {
			answer = []byte(peer.String())
		}
		// An answer may be lost as any datagram may; the peer counts.
		if _, err := c.WriteTo(answer, peer); errors.Is(err, net.ErrClosed) {
			return nil
		}
	}
}
