package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// sweepInterval is how often it is seen who has waited too long.
const sweepInterval = time.Second

// exchange is one socket to the other resolver, with many queries under way at once.
type exchange struct {
	forwarder *forwarder
	conn      net.Conn
	born      time.Time

	mu      sync.Mutex // guards following
	waiting map[uint16]*waiting
	closed  bool
}

func newExchange(f *forwarder, conn net.Conn) *exchange {
	return &exchange{forwarder: f, conn: conn, born: time.Now(), waiting: make(map[uint16]*waiting)}
}

// send sends a query, and reports false if this exchange takes no more.
func (e *exchange) send(w *waiting) bool {
	id, ok := e.add(w)
	if !ok {
		return false
	}
	// The client's query is kept as it came; only the id on the way differs.
	packet := append([]byte(nil), w.msg...)
	binary.BigEndian.PutUint16(packet, id)
	if _, err := e.conn.Write(packet); err != nil {
		e.fail()
	}
	return true
}

func (e *exchange) add(w *waiting) (id uint16, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || time.Since(e.born) > exchangeLifetime || len(e.waiting) > 1<<15 {
		return 0, false
	}
	// At most half of all ids are taken, so this ends.
	for {
		id = uint16(rand.Uint32()) //nolint:gosec // tells queries apart; seeded from the kernel all the same
		if _, taken := e.waiting[id]; !taken {
			e.waiting[id] = w
			return id, true
		}
	}
}

// run takes answers until the exchange is no longer of use.
func (e *exchange) run() {
	stop := context.AfterFunc(e.forwarder.ctx, func() { _ = e.conn.Close() }) // so that reading ends
	defer stop()
	buf := make([]byte, packetSize)
	next := time.Now().Add(sweepInterval)
	for {
		if now := time.Now(); !now.Before(next) {
			next = now.Add(sweepInterval)
			if e.sweep(now) {
				return
			}
		}
		if err := e.conn.SetReadDeadline(next); err != nil {
			e.fail()
			return
		}
		n, err := e.conn.Read(buf)
		switch {
		case err == nil:
			e.deliver(buf[:n])
		case !errors.Is(err, os.ErrDeadlineExceeded):
			// On loopback the kernel says at once that nobody listens there.
			e.fail()
			return
		}
	}
}

// deliver gives an answer to the client that it is for.
func (e *exchange) deliver(msg []byte) {
	w, ok := e.take(msg)
	if !ok {
		return
	}
	if failed(msg) && e.forwarder.another(w) {
		e.forwarder.next(w)
		return
	}
	if len(msg) > maxUDP {
		msg = cut(w.msg, msg)
	}
	copy(msg, w.msg[:2])
	e.forwarder.finish(w, msg)
}

// failed reports whether a server says that it has no answer, which another may have.
func failed(msg []byte) bool {
	rcode := msg[3] & maskRcode
	return rcode == rcodeServer || rcode == rcodeRefused
}

// take returns the query that a message answers, if it does. It waits no more then.
func (e *exchange) take(msg []byte) (*waiting, bool) {
	if len(msg) < headerSize || msg[2]&flagResponse == 0 {
		return nil, false
	}
	id := binary.BigEndian.Uint16(msg)
	e.mu.Lock()
	defer e.mu.Unlock()
	w, ok := e.waiting[id]
	if !ok || !isAnswer(w.msg, msg) {
		return nil, false
	}
	delete(e.waiting, id)
	return w, true
}

// isAnswer reports whether msg answers the query, and not another one with the same
// id. Servers that repeat the question in other letters are known, and those that
// refuse without repeating it.
func isAnswer(asked, msg []byte) bool {
	if binary.BigEndian.Uint16(msg[4:]) == 0 {
		return msg[3]&maskRcode != 0
	}
	q, v, _ := readQuery(asked, new(nameBuffer))
	if v != forwarded || len(msg) < q.end {
		return false
	}
	for i, c := range asked[headerSize:q.end] {
		if lower(c) != lower(msg[headerSize+i]) {
			return false
		}
	}
	return true
}

// cut is an answer that says that it did not fit, so that the client asks by TCP.
func cut(asked, msg []byte) []byte {
	q, _, _ := readQuery(asked, new(nameBuffer)) // only what could be read was passed on
	out := append([]byte(nil), msg[:q.end]...)
	out[2] |= flagTruncated
	binary.BigEndian.PutUint16(out[6:], 0)
	binary.BigEndian.PutUint32(out[8:], 0)
	return out
}

// sweep has those who have waited too long ask the next server, and reports whether the exchange
// is done: nobody waits, and nobody will.
func (e *exchange) sweep(now time.Time) (done bool) {
	var late []*waiting
	e.mu.Lock()
	for id, w := range e.waiting {
		if now.After(w.patience) {
			delete(e.waiting, id)
			late = append(late, w)
		}
	}
	done = e.closed || len(e.waiting) == 0 && now.Sub(e.born) > exchangeLifetime
	e.mu.Unlock()
	for _, w := range late {
		e.forwarder.next(w)
	}
	if done {
		e.fail()
	}
	return done
}

// fail ends the exchange. What waits in it has not been answered.
func (e *exchange) fail() {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return
	}
	e.closed = true
	var list []*waiting
	for _, w := range e.waiting {
		list = append(list, w)
	}
	e.waiting = nil
	e.mu.Unlock()
	_ = e.conn.Close() // nothing was written that is not lost anyway
	e.forwarder.lost(list)
}
