package dns

import (
	"context"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
)

// Dial opens a new connection to the resolver that has the names that are not ours,
// "udp" or "tcp".
type Dial func(ctx context.Context, network string) (net.Conn, error)

// Options are limits of each sandbox; zero means the default.
type Options struct {
	// Forwards is how many queries may wait for others at the same time; those
	// beyond fail at once. Default 8192: the engine's own resolver has 1024, and
	// users have run into it (moby, maxConcurrent in resolver.go).
	Forwards int
	// ForwardTimeout is when others have not answered. Default 15 s: the engine
	// asks three servers for 4 s each.
	ForwardTimeout time.Duration
	// ServerTimeout is when the next server is asked, if there is another. Default 4 s,
	// as the engine has it.
	ServerTimeout time.Duration
	// Connections is how many TCP connections may be open. Default 128.
	Connections int
	// IdleTimeout is when a TCP connection that says nothing is closed. Default
	// 20 s, more than any query may wait.
	IdleTimeout time.Duration
	// WriteTimeout is how long a client may not take its answers from a TCP
	// connection. Default 5 s.
	WriteTimeout time.Duration
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	if o.Forwards == 0 {
		o.Forwards = 8192
	}
	if o.Connections == 0 {
		o.Connections = 128
	}
	set(&o.ForwardTimeout, 15*time.Second)
	set(&o.ServerTimeout, 4*time.Second)
	set(&o.IdleTimeout, 20*time.Second)
	set(&o.WriteTimeout, 5*time.Second)
	return o
}

// Responder answers the queries of all sandboxes of this host.
type Responder struct {
	log     logrus.FieldLogger
	records *Records
	opts    Options
	batches sync.Pool // of *batch
	// complained is when a panic was last logged, in Unix seconds: whoever can
	// cause one can cause many.
	complained atomic.Int64
}

// New returns a responder that answers from the records.
func New(log logrus.FieldLogger, records *Records, opts Options) *Responder {
	return &Responder{log: log, records: records, opts: opts.withDefaults()}
}

// Sockets are what [Responder.Serve] is handed of a sandbox.
type Sockets struct {
	UDP *net.UDPConn
	TCP net.Listener
	// Dial reaches the resolver that the sandbox had before.
	Dial Dial
}

// Serve answers one sandbox until ctx ends or a socket fails. It closes the sockets.
func (r *Responder) Serve(ctx context.Context, key SandboxKey, sockets Sockets) error {
	ways := []Dial{sockets.Dial}
	return r.serve(ctx, &service{responder: r, key: key, udp: sockets.UDP, tcp: sockets.TCP, ways: func() []Dial { return ways }})
}

func (r *Responder) serve(ctx context.Context, s *service) error {
	group, ctx := errgroup.WithContext(ctx)
	s.forwarder = newForwarder(ctx, s)
	// Closing is what ends the two; what the sockets hold is gone with them. No
	// goroutine waits for it: a host has a thousand sandboxes.
	closeSockets := func() { _, _ = s.udp.Close(), s.tcp.Close() }
	defer context.AfterFunc(ctx, closeSockets)()
	group.Go(func() error { return s.serveUDP(ctx) })
	group.Go(func() error { return s.serveTCP(ctx) })
	err := group.Wait()
	closeSockets() // also if ctx ended only now
	s.forwarder.wait()
	return err
}

// service is the responder in one sandbox, or at the gateway of one network.
type service struct {
	responder *Responder
	key       SandboxKey
	gateway   bool
	network   NetworkID // of the gateway
	udp       *net.UDPConn
	tcp       net.Listener
	// ways lead to those who have the names that are not ours.
	ways      func() []Dial
	forwarder *forwarder
}

// answer answers a client's message in out or elsewhere, or says what else is to become
// of it. This is the one entry of everything that clients send. Who the client is does
// not matter in a sandbox.
func (s *service) answer(msg []byte, t transport, client netip.Addr, out []byte) (reply []byte, v verdict) {
	defer func() {
		if p := recover(); p != nil {
			s.responder.complain(p)
			reply, v = refusal(out, msg, rcodeServer), answered
		}
	}()
	var buf nameBuffer
	q, v, rcode := readQuery(msg, &buf)
	if v == answered {
		return refusal(out, msg, rcode), answered
	}
	if v == ignored {
		return nil, ignored
	}
	view, ok := s.viewOf(client)
	if !ok {
		return unanswered(msg, t, rcodeRefused), answered
	}
	if view == nil || !q.plain || q.qclass != classIN {
		return nil, forwarded
	}
	if reply, ok := q.answer(view, t, out); ok {
		return reply, answered
	}
	if view.owns(&q) {
		return view.full(msg, t), answered
	}
	return nil, forwarded
}

// complain logs a panic, once a minute.
func (r *Responder) complain(p any) {
	now := time.Now().Unix()
	if last := r.complained.Load(); now-last < 60 || !r.complained.CompareAndSwap(last, now) {
		return
	}
	r.log.WithFields(logrus.Fields{"panic": p, "stack": string(debug.Stack())}).Error("dns query failed")
}
