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
	// server counts those that were asked before, and patience is when the next one
	// is, if there is another.
	server   int
	patience time.Time
	// again says that it was sent to this server a second time.
	again bool
}

// forwarder passes the UDP queries of one sandbox or gateway on. Whoever submits one
// never waits: a dead resolver costs memory up to a limit, and no owned name its answer.
// Nothing runs while there is nothing to pass on.
type forwarder struct {
	ctx     context.Context //nolint:containedctx // the service's own; a query has none
	service *service
	group   sync.WaitGroup
	// waiting counts all that have neither been answered nor given up.
	waiting *quota

	mu      sync.Mutex // guards following
	queue   []*waiting // not sent yet
	sending bool       // someone is sending what is in the queue

	// exchanges are of the one that sends, by server.
	exchanges map[int]*exchange
}

func newForwarder(ctx context.Context, s *service) *forwarder {
	f := &forwarder{ctx: ctx, service: s, exchanges: make(map[int]*exchange)}
	if s != nil {
		f.waiting = newQuota(s.responder.opts.Forwards)
	}
	return f
}

// submit passes a query on, and reports false if too many wait already.
func (f *forwarder) submit(msg []byte, client netip.AddrPort) bool {
	if !f.waiting.take(f.service.payer(client.Addr())) {
		return false
	}
	w := &waiting{msg: append([]byte(nil), msg...), client: client}
	w.deadline = time.Now().Add(f.service.responder.opts.ForwardTimeout)
	f.enqueue(w)
	return true
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
		// To whom there is no way there is none for the others either: all of them
		// would wait for the same.
		dead := make(map[int]bool)
		for _, w := range list {
			f.sendOne(w, dead)
		}
	}
}

// sendOne sends a query to the first server that there is a way to.
func (f *forwarder) sendOne(w *waiting, dead map[int]bool) {
	servers := f.service.servers(w.client.Addr())
	for ; w.server < len(servers); w.server++ {
		if dead[w.server] {
			continue
		}
		w.patience = w.deadline
		if w.server+1 < len(servers) {
			w.patience = time.Now().Add(f.service.responder.opts.ServerTimeout)
		}
		if err := f.sendTo(w, servers[w.server]); err == nil {
			return
		}
		dead[w.server] = true
	}
	f.giveUp(w)
}

// sendTo sends a query to its server. An error means that there is no way there.
func (f *forwarder) sendTo(w *waiting, dial Dial) error {
	server := w.server // w is somebody else's once it is sent
	for e := f.exchanges[server]; e == nil || !e.send(w); e = f.exchanges[server] {
		ctx, cancel := context.WithTimeout(f.ctx, dialTimeout)
		conn, err := dial(ctx, "udp")
		cancel()
		if err != nil {
			return err
		}
		fresh := newExchange(f, conn)
		f.exchanges[server] = fresh
		f.group.Go(fresh.run)
	}
	return nil
}

// another reports whether there is a server that was not asked yet.
func (f *forwarder) another(w *waiting) bool {
	return w.server+1 < len(f.service.servers(w.client.Addr()))
}

// next asks the next server, or gives up if there is none or it is too late.
func (f *forwarder) next(w *waiting) {
	if f.ctx.Err() != nil || !time.Now().Before(w.deadline) || !f.another(w) {
		f.giveUp(w)
		return
	}
	w.server++
	w.again = false
	f.enqueue(w)
}

// lost is called with what waited for an answer from an exchange that broke: each
// has a second chance, since the resolver may have moved.
func (f *forwarder) lost(list []*waiting) {
	var retry []*waiting
	for _, w := range list {
		if w.again || f.ctx.Err() != nil {
			f.next(w)
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

// finish answers the client, as soon as that can be known to be right.
func (f *forwarder) finish(w *waiting, reply []byte) {
	if f.ctx.Err() == nil && f.service.doubtful(reply) {
		kept := append([]byte(nil), reply...) // whoever received it goes on to use the room
		f.group.Go(func() { f.deliver(w, f.service.settle(f.ctx, w.msg, overUDP, w.client.Addr(), kept)) })
		return
	}
	f.deliver(w, reply)
}

func (f *forwarder) deliver(w *waiting, reply []byte) {
	if f.ctx.Err() == nil {
		f.service.reply(w.client, reply)
	}
	f.waiting.give(f.service.payer(w.client.Addr()))
}

// wait waits for everything that was started, once ctx has ended.
func (f *forwarder) wait() { f.group.Wait() }
