package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	miekgdns "github.com/miekg/dns"
)

func TestForward_bytesGoThroughAsTheyAre(t *testing.T) {
	t.Parallel()
	u, dial := newUpstream(t, denial)
	p := serve(t, office(), Options{}, dial)
	msg := asked("eXample.Com", miekgdns.TypeTXT, withCookie)
	for i, addr := range []net.Addr{p.udp, p.tcp} {
		reply := ask(t, p.dial(addr), msg)
		if want := denial("", msg); !bytes.Equal(reply, want) {
			t.Errorf("over %s the answer is\n%x, want\n%x", addr.Network(), reply, want)
		}
		// Over UDP the id is one of ours.
		if seen := u.waitSeen(i + 1)[i]; !bytes.Equal(seen[2:], msg[2:]) {
			t.Errorf("over %s the upstream saw\n%x, want\n%x", addr.Network(), seen, msg)
		}
	}
}

func TestForward_whatOnlyOthersCanReadIsTheirs(t *testing.T) {
	t.Parallel()
	u, dial := newUpstream(t, func(_ string, msg []byte) []byte {
		return append([]byte{msg[0], msg[1], 0x81, 0x82}, msg[4:]...)
	})
	p := serve(t, office(), Options{}, dial)
	msg := append(asked("example.com", typeA), "and more"...)
	msg[11] = 7
	reply := ask(t, p.dial(p.udp), msg)
	if !bytes.Equal(reply[4:], msg[4:]) || !bytes.Equal(u.waitSeen(1)[0][2:], msg[2:]) {
		t.Errorf("%x came back for %x", reply, msg)
	}
}

func TestForward_sameIDOfTwoClients(t *testing.T) {
	t.Parallel()
	_, dial := newUpstream(t, func(_ string, msg []byte) []byte {
		return append([]byte{msg[0], msg[1], 0x81, 0x83}, msg[4:]...)
	})
	p := serve(t, office(), Options{}, dial)
	conns := []net.Conn{p.dial(p.udp), p.dial(p.udp)}
	for i, conn := range conns {
		send(t, conn, asked(fmt.Sprintf("client%d.example", i), typeA))
	}
	for i, conn := range conns {
		want := asked(fmt.Sprintf("client%d.example", i), typeA)
		if got := receive(t, conn); !bytes.Equal(got[4:], want[4:]) || !bytes.Equal(got[:2], want[:2]) {
			t.Errorf("client %d got %x", i, got)
		}
	}
}

func TestForward_answersToOtherQuestionsAreIgnored(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		answer func(msg []byte) []byte
		taken  bool
	}{
		{"the same", func(m []byte) []byte { return m }, true},
		{"in other letters", func(m []byte) []byte { m[13] &^= 0x20; return m }, true},
		{"another name", func(m []byte) []byte { m[13] ^= 1; return m }, false},
		{"another type", func(m []byte) []byte { m[len(m)-3] = typeAAAA; return m }, false},
		{"another id", func(m []byte) []byte { m[0] ^= 1; return m }, false},
		{"a question", func(m []byte) []byte { m[2] = 0; return m }, false},
		{"no question", func(m []byte) []byte { m[5] = 0; return m[:12] }, false},
		{"refused without a question", func(m []byte) []byte { m[3], m[5] = 0x85, 0; return m[:12] }, true},
		{"short", func(m []byte) []byte { return m[:11] }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			msg := asked("example.com", typeA)
			e := newExchange(nil, nil)
			id, _ := e.add(&waiting{msg: msg})
			raw := append([]byte(nil), msg...)
			binary.BigEndian.PutUint16(raw, id)
			raw[2] |= flagResponse
			_, taken := e.take(tc.answer(raw))
			if taken != tc.taken || (len(e.waiting) == 0) != tc.taken {
				t.Errorf("taken = %t, want %t", taken, tc.taken)
			}
		})
	}
}

func TestForward_longAnswerIsCut(t *testing.T) {
	t.Parallel()
	_, dial := newUpstream(t, func(_ string, msg []byte) []byte {
		reply := append([]byte{msg[0], msg[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}, msg[12:]...)
		return append(reply, make([]byte, maxUDP)...)
	})
	p := serve(t, office(), Options{}, dial)
	reply := ask(t, p.dial(p.udp), asked("example.com", typeA))
	if got := shown(t, reply); got != "Success tc rd ra" {
		t.Errorf("answer = %s", got)
	}
}

func TestForward_nobodyThere(t *testing.T) {
	t.Parallel()
	p := serve(t, office(), Options{}, nobody)
	for _, addr := range []net.Addr{p.udp, p.tcp} {
		reply := ask(t, p.dial(addr), asked("example.com", typeA, withEDNS(1232)))
		if got := shown(t, reply); got != "ServerFailure rd ra\nopt 4096 do=false" {
			t.Errorf("over %s: %s", addr.Network(), got)
		}
	}
}

func TestForward_resolverThatDoesNotAnswerIsGivenUp(t *testing.T) {
	t.Parallel()
	_, dial := newUpstream(t, func(string, []byte) []byte { return nil })
	p := serve(t, office(), Options{ForwardTimeout: 50 * time.Millisecond}, dial)
	for _, addr := range []net.Addr{p.udp, p.tcp} {
		if got := shown(t, ask(t, p.dial(addr), asked("example.com", typeA))); got != "ServerFailure rd ra" {
			t.Errorf("over %s: %s", addr.Network(), got)
		}
	}
}

// The engine's resolver opens a new port when the engine restarts, and the kernel
// goes on to send what comes from one socket to the old one.
func TestForward_resolverThatMovedIsFoundByTheSameQuery(t *testing.T) {
	t.Parallel()
	u, dial := newUpstream(t, denial)
	p := serve(t, office(), Options{}, dial)
	conn := p.dial(p.udp)
	ask(t, conn, asked("example.com", typeA))
	u.close()
	u.listen()
	if got := shown(t, ask(t, conn, asked("example.org", typeA))); got != "NameError rd" {
		t.Errorf("after the move: %s", got)
	}
	if n := u.dials.Load(); n != 2 {
		t.Errorf("%d sockets were opened, want 2", n)
	}
}

func TestForward_resolverThatIsGoneIsAskedTwice(t *testing.T) {
	t.Parallel()
	u, dial := newUpstream(t, denial)
	p := serve(t, office(), Options{}, dial)
	u.close()
	if got := shown(t, ask(t, p.dial(p.udp), asked("example.com", typeA))); got != "ServerFailure rd ra" {
		t.Errorf("answer = %s", got)
	}
	if n := u.dials.Load(); n != 2 {
		t.Errorf("%d sockets were opened, want 2", n)
	}
}

// stuck is an upstream to which no way is found until the end, however long the
// responder would try: whoever waited for it would wait for ever.
func stuck(dials *atomic.Int32, end <-chan struct{}) func(*place) Dial {
	return func(*place) Dial {
		return func(context.Context, string) (net.Conn, error) {
			dials.Add(1)
			<-end
			return nil, errors.New("nobody there")
		}
	}
}

// 5,000 queries wait for others, and not one of them can be sent: an owned name is
// answered all the same, since nothing that answers it waits for them.
func TestForward_outstandingQueriesDoNotHoldOwnedNames(t *testing.T) {
	t.Parallel()
	const outstanding = 5000
	var dials atomic.Int32
	end := make(chan struct{})
	defer close(end) // before the responder ends, which waits for it
	p := serve(t, office(), Options{Forwards: outstanding}, stuck(&dials, end))
	conn := p.dial(p.udp)
	fill(t, conn, outstanding)
	if got := shown(t, ask(t, conn, asked("web", typeA))); got != "Success aa rd ra\nweb. 5 10.0.0.2" {
		t.Errorf("owned name: %s", got)
	}
	if got := shown(t, ask(t, p.dial(p.tcp), asked("web", typeA))); got != "Success aa rd ra\nweb. 5 10.0.0.2" {
		t.Errorf("owned name over TCP: %s", got)
	}
	// And all 5,000 are waiting: one more is refused.
	if got := shown(t, ask(t, conn, asked("example.com", typeA))); got != "ServerFailure rd ra" {
		t.Errorf("one more: %s", got)
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("%d times a way was looked for at once, want 1", n)
	}
}

// fill sends that many foreign queries. After every few it asks for an owned name,
// so that none is lost for want of room in the socket.
func fill(t testing.TB, conn net.Conn, count int) {
	t.Helper()
	msg := asked("dead.example", typeA)
	for i := range count {
		send(t, conn, msg)
		if i%50 == 0 {
			ask(t, conn, asked("web", typeA))
		}
	}
	ask(t, conn, asked("web", typeA))
}

func TestForward_socketThatNobodyUsesIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn, other := net.Pipe()
		e := newExchange(newForwarder(t.Context(), nil), conn)
		start := time.Now()
		e.run()
		if took := time.Since(start); took < exchangeLifetime || took > exchangeLifetime+2*sweepInterval {
			t.Errorf("it was closed after %s", took)
		}
		if _, err := other.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the other end says %v, want that it is closed", err)
		}
		if e.send(&waiting{msg: asked("example.com", typeA)}) {
			t.Error("it takes another query")
		}
	})
}

// p99 of owned names with and without 5,000 queries waiting for a dead resolver.
func BenchmarkOwnedName(b *testing.B) {
	for _, outstanding := range []int{0, 5000} {
		b.Run(fmt.Sprintf("outstanding=%d", outstanding), func(b *testing.B) {
			_, dial := newUpstream(b, func(string, []byte) []byte { return nil })
			p := serve(b, office(), Options{ForwardTimeout: time.Hour}, dial)
			conn := p.dial(p.udp)
			fill(b, conn, outstanding)
			if err := conn.SetDeadline(time.Time{}); err != nil {
				b.Fatal(err)
			}
			msg, buf := asked("web", typeA), make([]byte, maxUDP)
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				if _, err := conn.Write(msg); err != nil {
					b.Fatal(err)
				}
				if _, err := conn.Read(buf); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "median-ns")
		})
	}
}
