package dns

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

const (
	// exchangeLifetime is how long one socket is used for new queries. The kernel
	// remembers for each socket where its packets were translated to, so one that
	// is used for ever would stay with a resolver that has moved.
	exchangeLifetime = 5 * time.Second
	dialTimeout      = 5 * time.Second
)

// waiting is a query that someone else has to answer.
type waiting struct {
	msg      []byte
	client   netip.AddrPort
	deadline time.Time
	// again says that it was sent a second time.
	again bool
}

// forwarder passes the UDP queries of one sandbox on. Whoever submits one never
// waits: a dead resolver costs memory up to a limit, and no owned name its answer.
// Nothing runs while there is nothing to pass on.
type forwarder struct {
	ctx     context.Context //nolint:containedctx // the service's own; a query has none
	service *service
	group   sync.WaitGroup

	mu      sync.Mutex // guards following
	queue   []*waiting // not sent yet
	count   int        // all that have neither been answered nor given up
	sending bool       // someone is sending what is in the queue

	// exchange is of the one that sends.
	exchange *exchange
}

func newForwarder(ctx context.Context, s *service) *forwarder {
	return &forwarder{ctx: ctx, service: s}
}

// submit passes a query on, and reports false if too many wait already.
func (f *forwarder) submit(msg []byte, client netip.AddrPort) bool {
	if !f.acquire() {
		return false
	}
	w := &waiting{msg: append([]byte(nil), msg...), client: client}
	w.deadline = time.Now().Add(f.service.responder.opts.ForwardTimeout)
	f.enqueue(w)
	return true
}

// acquire takes a place among those that may wait; release gives it back.
func (f *forwarder) acquire() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count >= f.service.responder.opts.Forwards {
		return false
	}
	f.count++
	return true
}

func (f *forwarder) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count--
}

func (f *forwarder) enqueue(list ...*waiting) {
	if len(list) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, list...)
	if !f.sending {
		f.sending = true
		f.group.Go(f.sendAll)
	}
}

// sendAll sends until the queue is empty.
func (f *forwarder) sendAll() {
	for {
		f.mu.Lock()
		list := f.queue
		f.queue = nil
		if len(list) == 0 {
			f.sending = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		for i, w := range list {
			if err := f.sendOne(w); err != nil {
				// All of them would wait for the same.
				for _, w := range list[i:] {
					f.giveUp(w)
				}
				break
			}
		}
	}
}

// sendOne sends a query. An error means that there is no way to anybody.
func (f *forwarder) sendOne(w *waiting) error {
	for f.exchange == nil || !f.exchange.send(w) {
		ctx, cancel := context.WithTimeout(f.ctx, dialTimeout)
		conn, err := f.service.dial(ctx, "udp")
		cancel()
		if err != nil {
			return err
		}
		e := newExchange(f, conn)
		f.exchange = e
		f.group.Go(e.run)
	}
	return nil
}

// lost is called with what waited for an answer from an exchange that broke: each
// has a second chance, since the resolver may have moved.
func (f *forwarder) lost(list []*waiting) {
	var retry []*waiting
	for _, w := range list {
		if w.again || f.ctx.Err() != nil {
			f.giveUp(w)
			continue
		}
		w.again = true
		retry = append(retry, w)
	}
	f.enqueue(retry...)
}

// giveUp tells the client that nobody answers.
func (f *forwarder) giveUp(w *waiting) {
	f.finish(w, failure(w.msg, overUDP))
}

// finish answers the client.
func (f *forwarder) finish(w *waiting, reply []byte) {
	if f.ctx.Err() == nil {
		f.service.reply(w.client, reply)
	}
	f.release()
}

// wait waits for everything that was started, once ctx has ended.
func (f *forwarder) wait() { f.group.Wait() }
