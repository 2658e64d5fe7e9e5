package dns

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// pipelined is how many queries of one connection may wait for others.
	pipelined = 64
	// acceptPause is how long to wait when the kernel has no more files to give.
	acceptPause = 100 * time.Millisecond
)

// serveTCP answers connections until the listener is closed.
func (s *service) serveTCP(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	connections := newQuota(s.responder.opts.Connections)
	for {
		conn, err := s.tcp.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return unlessDone(ctx, err)
		case err != nil:
			// Not the listener's fault: out of files, or a client that is gone again.
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		st := newStream(s, conn)
		who := s.payer(st.client)
		if !connections.take(who) {
			_ = conn.Close() // he has used up what he may; nothing was written
			continue
		}
		group.Go(func() {
			defer connections.give(who)
			st.serve(ctx)
		})
	}
}

// stream is one TCP connection. Answers to owned names are given at once, past
// queries that wait for others (RFC 7766 s6.2.1.1).
type stream struct {
	service *service
	conn    net.Conn
	client  netip.Addr
	group   sync.WaitGroup
	slots   chan struct{}
	out     []byte

	mu sync.Mutex // guards writing to conn
}

func newStream(s *service, conn net.Conn) *stream {
	st := &stream{service: s, conn: conn, slots: make(chan struct{}, pipelined)}
	if from, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		st.client = from.Addr()
	}
	return st
}

func (st *stream) serve(ctx context.Context) {
	closeConn := func() { _ = st.conn.Close() } // whoever is at the other end has what was written
	stop := context.AfterFunc(ctx, closeConn)
	defer stop()
	defer closeConn()
	// A client that closes its side still gets what it has asked for.
	defer st.group.Wait()
	in := bufio.NewReaderSize(st.conn, minUDP)
	for {
		if err := st.conn.SetReadDeadline(time.Now().Add(st.service.responder.opts.IdleTimeout)); err != nil {
			return
		}
		msg, err := readMessage(in)
		if err != nil {
			return
		}
		reply, v := st.service.answer(msg, overTCP, st.client, st.out[:0])
		if v == forwarded && !st.forward(ctx, msg) {
			reply, v = failure(msg, overTCP), answered
		}
		if v == answered {
			st.out = reply[:0]
			if err := st.write(reply); err != nil {
				return
			}
		}
	}
}

// forward asks others, and reports false if too many wait already.
func (st *stream) forward(ctx context.Context, msg []byte) bool {
	select {
	case st.slots <- struct{}{}:
	default:
		return false
	}
	who := st.service.payer(st.client)
	if !st.service.forwarder.waiting.take(who) {
		<-st.slots
		return false
	}
	st.group.Go(func() {
		reply := st.service.ask(ctx, msg, st.client)
		if st.service.doubtful(reply) {
			reply = st.service.settle(ctx, msg, overTCP, st.client, reply)
		}
		st.service.forwarder.waiting.give(who)
		_ = st.write(reply) // it has closed the connection if it failed
		<-st.slots
	})
	return true
}

// ask asks the others, one after the other.
func (s *service) ask(ctx context.Context, msg []byte, client netip.Addr) []byte {
	ctx, cancel := context.WithTimeout(ctx, s.responder.opts.ForwardTimeout)
	defer cancel()
	servers := s.servers(client)
	for i, dial := range servers {
		timeout := s.responder.opts.ForwardTimeout
		if i+1 < len(servers) {
			timeout = s.responder.opts.ServerTimeout
		}
		reply, err := askOne(ctx, timeout, dial, msg)
		if err == nil && (i+1 == len(servers) || !failed(reply)) {
			return reply
		}
	}
	return failure(msg, overTCP)
}

// askOne asks over a connection of its own: a server may answer the queries of one
// connection one after the other, the slowest first.
func askOne(ctx context.Context, timeout time.Duration, dial Dial, msg []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := dial(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // so that reading ends
	defer stop()
	defer func() { _ = conn.Close() }() // everything is read
	if err := writeMessage(conn, msg); err != nil {
		return nil, err
	}
	reply, err := readMessage(conn)
	if err != nil {
		return nil, err
	}
	if len(reply) < headerSize {
		return nil, io.ErrUnexpectedEOF
	}
	return reply, nil
}

// write writes one answer. A client that does not take it loses the connection.
func (st *stream) write(msg []byte) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	err := st.conn.SetWriteDeadline(time.Now().Add(st.service.responder.opts.WriteTimeout))
	if err == nil {
		err = writeMessage(st.conn, msg)
	}
	if err != nil {
		_ = st.conn.Close() // the error before is the one to tell
	}
	return err
}

// readMessage reads a message with its length before it; RFC 1035 s4.2.2.
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, msg)
	return msg, err
}

// writeMessage writes both in one piece: some clients take the first packet for all.
func writeMessage(w io.Writer, msg []byte) error {
	packet := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg))) //nolint:gosec // at most maxTCP
	_, err := w.Write(append(packet, msg...))
	return err
}
