package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// proxy stands between one host and Consul, and counts what passes.
type proxy struct {
	listener net.Listener
	to       string
	from     netip.Addr
	running  sync.WaitGroup

	received, sent, requests atomic.Int64
}

// counts are what passed a proxy, as the host sees it.
type counts struct{ received, sent, requests float64 }

func (c counts) minus(o counts) counts {
	return counts{c.received - o.received, c.sent - o.sent, c.requests - o.requests}
}

func (c counts) times(f float64) counts { return counts{c.received * f, c.sent * f, c.requests * f} }

func newProxy(ctx context.Context, from netip.Addr, to string) (*proxy, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, from: from, to: to}
	p.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // it was closed
			}
			p.running.Go(func() { p.serve(ctx, conn) })
		}
	})
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) counts() counts {
	return counts{float64(p.received.Load()), float64(p.sent.Load()), float64(p.requests.Load())}
}

func (p *proxy) close() error {
	err := p.listener.Close()
	p.running.Wait()
	return err
}

// serve passes bytes both ways until one side ends.
func (p *proxy) serve(ctx context.Context, near net.Conn) {
	// Consul lets an address have 200 connections, and in a cluster each host has one.
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: p.from.AsSlice()}}
	far, err := d.DialContext(ctx, "tcp", p.to)
	if err != nil {
		_ = near.Close() // the host sees that Consul is not there
		return
	}
	end := func() { _ = errors.Join(near.Close(), far.Close()) } // the other side is to end, too
	p.running.Go(func() {
		defer end()
		_, _ = io.Copy(near, io.TeeReader(far, counter(func(b []byte) { p.received.Add(int64(len(b))) }))) // it ends with the connection
	})
	defer end()
	_, _ = io.Copy(far, io.TeeReader(near, counter(func(b []byte) { // as above
		p.sent.Add(int64(len(b)))
		// A request is small and begins a write of the client.
		if bytes.HasPrefix(b, []byte("GET ")) || bytes.HasPrefix(b, []byte("PUT ")) || bytes.HasPrefix(b, []byte("DELETE ")) {
			p.requests.Add(1)
		}
	})))
}

// counter is an [io.Writer] that only looks.
type counter func(b []byte)

// Write implements [io.Writer].
func (c counter) Write(b []byte) (int, error) {
	c(b)
	return len(b), nil
}
