package dns

import (
	"context"
	"net"
	"net/netip"
	"time"
)

const (
	// settleTime is how long an answer may wait for names that are not known yet. A
	// container's are learned within some milliseconds, once it has been started.
	settleTime = 2 * time.Second
	// settleInterval is how often it is seen whether they are.
	settleInterval = 10 * time.Millisecond
)

// Gateway is what [Responder.ServeGateway] is handed of a network's gateway.
type Gateway struct {
	UDP *net.UDPConn
	TCP net.Listener
	// Servers returns the ways to those who are asked for names that are not ours, the
	// first first. It is called for each query.
	Servers func() []Dial
}

// ServeGateway answers at the address of a network's gateway until ctx ends or a socket
// fails. It closes the sockets. Whoever has an address there by [Sandbox.Addrs] gets
// what he would get in his sandbox, and everybody else is refused. The limits of
// [Options] are for each address.
func (r *Responder) ServeGateway(ctx context.Context, id NetworkID, g Gateway) error {
	return r.serve(ctx, &service{responder: r, gateway: true, network: id, udp: g.UDP, tcp: g.TCP, ways: g.Servers})
}

// viewOf returns what a client may ask, nil for nothing of us, and false if he is to be
// refused.
func (s *service) viewOf(client netip.Addr) (v *view, ok bool) {
	if !s.gateway {
		return s.responder.records.view(s.key), true
	}
	v = s.responder.records.viewOf(s.network, client)
	return v, v != nil
}

// payer is who uses up what each may have: a sandbox has all its clients in it.
func (s *service) payer(client netip.Addr) netip.Addr {
	if !s.gateway {
		return netip.Addr{}
	}
	return client
}

// servers returns the ways to those who are asked on behalf of a client.
func (s *service) servers(client netip.Addr) []Dial {
	if s.gateway {
		// Without a way out he learns nothing from outside either. Who is gone has
		// no use for an answer.
		if v, ok := s.viewOf(client); !ok || v.confined {
			return nil
		}
	}
	return s.ways()
}

// doubtful reports whether an answer of others says that there is nothing, which may not
// be so: those who are asked at a gateway know none of our names. In a sandbox that is
// the engine, which knows what the containers of this host are called.
func (s *service) doubtful(reply []byte) bool {
	if !s.gateway || len(reply) < headerSize || reply[2]&flagTruncated != 0 {
		return false
	}
	return reply[6]|reply[7] == 0 || reply[3]&maskRcode != 0
}

// settle waits until it is known whether the name is ours, and returns the answer: ours
// if it is, the one of others if not. That a name does not exist is never said before.
func (s *service) settle(ctx context.Context, msg []byte, t transport, client netip.Addr, reply []byte) []byte {
	late := time.NewTimer(settleTime)
	defer late.Stop()
	tick := time.NewTicker(settleInterval)
	defer tick.Stop()
	for v, ok := s.viewOf(client); ok && v.unsettled; v, ok = s.viewOf(client) {
		// It may be a name that is known by now.
		if own, v := s.answer(msg, t, client, nil); v == answered {
			return own
		}
		select {
		case <-tick.C:
		case <-late.C:
			return failure(msg, t)
		case <-ctx.Done():
			return failure(msg, t)
		}
	}
	if own, v := s.answer(msg, t, client, nil); v == answered {
		return own
	}
	return reply
}
