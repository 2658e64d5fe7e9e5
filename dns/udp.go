package dns

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// longestTurn is how long a socket that always has queries is answered before others, of
// other sandboxes and of the plugin at large, have a turn. Whoever floods its resolver
// would else have a core of the runtime's for 10 ms at a time.
const longestTurn = time.Millisecond

// packets receives queries of one socket and sends the answers, many at a time.
// It takes room for them when there is something, not while it waits: a host has a
// thousand sandboxes, and few of them ask at the same moment.
type packets struct {
	raw  syscall.RawConn
	pool *sync.Pool // of *batch

	batch *batch
	sent  int
	err   error
	// turn is when the socket began to have queries all the time.
	turn time.Time
	// The functions that the runtime calls when the socket is ready, made once.
	onRead, onWrite func(fd uintptr) bool
}

func newPackets(conn *net.UDPConn, pool *sync.Pool) (*packets, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	p := &packets{raw: raw, pool: pool}
	p.onRead, p.onWrite = p.tryReceive, p.trySend
	return p, nil
}

// yield lets others have a turn if it is time.
func (p *packets) yield() {
	now := time.Now()
	if p.turn.IsZero() {
		p.turn = now
	} else if now.Sub(p.turn) > longestTurn {
		runtime.Gosched()
		p.turn = time.Now()
	}
}

// receive waits for packets. The caller gives the batch back with send.
func (p *packets) receive() (*batch, error) {
	if err := p.raw.Read(p.onRead); err != nil {
		return nil, err
	}
	if p.err != nil {
		return nil, p.err
	}
	return p.batch, nil
}

func (p *packets) tryReceive(fd uintptr) bool {
	b, ok := p.pool.Get().(*batch)
	if !ok {
		b = newBatch()
	}
	p.err = b.receive(fd)
	if p.err != nil {
		p.pool.Put(b)
		p.turn = time.Time{}
		return !wouldBlock(p.err)
	}
	p.batch = b
	return true
}

// send sends the answers of the batch that was received.
func (p *packets) send() error {
	b := p.batch
	p.batch, p.sent = nil, 0
	defer func() {
		b.drained()
		p.pool.Put(b)
	}()
	if b.answers == 0 {
		return nil
	}
	p.batch = b
	err := p.raw.Write(p.onWrite)
	p.batch = nil
	return err
}

func (p *packets) trySend(fd uintptr) bool {
	for p.sent < p.batch.answers {
		n, err := p.batch.transmit(fd, p.sent)
		switch {
		case err == nil:
			p.sent += n
		case wouldBlock(err):
			return false
		default:
			p.sent++ // this one cannot be sent; its client is no matter of the others
		}
	}
	return true
}

// serveUDP answers packets until the socket is closed.
func (s *service) serveUDP(ctx context.Context) error {
	p, err := newPackets(s.udp, &s.responder.batches)
	if err != nil {
		return err
	}
	for {
		p.yield()
		b, err := p.receive()
		if err != nil {
			return unlessDone(ctx, err)
		}
		for i := range b.received {
			s.answerPacket(b, i)
		}
		if err := p.send(); err != nil {
			return unlessDone(ctx, err)
		}
	}
}

// unlessDone returns what ended a socket, if it was not us.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func (s *service) answerPacket(b *batch, i int) {
	msg := b.packet(i)
	if len(msg) > maxUDP {
		return // cut off, and longer than any query that a client would send
	}
	var from netip.AddrPort
	if s.gateway {
		from = b.sender(i)
	}
	reply, v := s.answer(msg, overUDP, from.Addr(), b.room())
	if v == forwarded && !s.forwarder.submit(msg, b.sender(i)) {
		reply, v = failure(msg, overUDP), answered
	}
	if v == answered {
		b.answer(i, reply)
	}
}

// reply sends a forwarded answer to the client. Nobody waits for an error here: a
// client that is gone does not miss it, one that is there asks again.
func (s *service) reply(client netip.AddrPort, msg []byte) {
	_, _ = s.udp.WriteToUDPAddrPort(msg, client) // see above
}
