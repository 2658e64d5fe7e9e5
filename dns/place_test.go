package dns

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	miekgdns "github.com/miekg/dns"

	"github.com/ournet/ournet/internal/netnstest"
)

// patience is how long a test waits for what has to come. It decides nothing but
// when a broken test ends.
const patience = 20 * time.Second

// place is a namespace in which a responder serves one sandbox.
type place struct {
	t       testing.TB
	ns      *netnstest.Namespace
	service *Responder
	udp     net.Addr
	tcp     net.Addr
}

// serve starts a responder in a namespace of its own, and ends it with the test.
func serve(t testing.TB, r *Records, opts Options, dial func(*place) Dial) *place {
	t.Helper()
	p := &place{t: t, ns: netnstest.New(t), service: New(quiet(), r, opts)}
	var s Sockets
	p.ns.Run(t, func() error {
		var err error
		if s.UDP, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 11)}); err != nil {
			return err
		}
		s.TCP, err = net.Listen("tcp", "127.0.0.11:0")
		return err
	})
	p.udp, p.tcp = s.UDP.LocalAddr(), s.TCP.Addr()
	s.Dial = dial(p)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.service.Serve(ctx, box, s) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return p
}

// nobody is an upstream that cannot be reached.
func nobody(*place) Dial {
	return func(context.Context, string) (net.Conn, error) { return nil, errors.New("nobody there") }
}

// dial opens a connection to an address in the namespace.
func (p *place) dial(addr net.Addr) net.Conn {
	p.t.Helper()
	var conn net.Conn
	p.ns.Run(p.t, func() error {
		var err error
		conn, err = net.Dial(addr.Network(), addr.String())
		return err
	})
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ask sends one message and returns the next that comes, over either transport.
func ask(t testing.TB, conn net.Conn, msg []byte) []byte {
	t.Helper()
	send(t, conn, msg)
	return receive(t, conn)
}

func send(t testing.TB, conn net.Conn, msg []byte) {
	t.Helper()
	var err error
	if conn.LocalAddr().Network() == "tcp" {
		err = writeMessage(conn, msg)
	} else {
		_, err = conn.Write(msg)
	}
	if err != nil {
		t.Fatalf("send: %v", err)
	}
}

func receive(t testing.TB, conn net.Conn) []byte {
	t.Helper()
	if conn.LocalAddr().Network() == "tcp" {
		msg, err := readMessage(conn)
		if err != nil {
			t.Fatalf("receive: %v", err)
		}
		return msg
	}
	buf := make([]byte, maxTCP)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	return buf[:n]
}

// upstream is another resolver, which a test tells what to answer.
type upstream struct {
	t      testing.TB
	ns     *netnstest.Namespace
	answer func(network string, msg []byte) []byte // nil is no answer
	dials  atomic.Int32

	mu   sync.Mutex // guards following
	udp  *net.UDPConn
	tcp  net.Listener
	seen [][]byte
}

// listen opens the upstream's sockets, at new ports each time.
func (u *upstream) listen() {
	u.t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ns.Run(u.t, func() error {
		var err error
		if u.udp, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			return err
		}
		u.tcp, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	go u.serveUDP(u.udp)
	go u.serveTCP(u.tcp)
}

// close closes them, and returns when the kernel has done so too.
func (u *upstream) close() {
	u.t.Helper()
	u.letGo()
	u.mu.Lock()
	udp, tcp := u.udp.LocalAddr(), u.tcp.Addr()
	u.mu.Unlock()
	u.ns.AwaitClosed(u.t, netip.MustParseAddrPort(udp.String()).Port(), netip.MustParseAddrPort(tcp.String()).Port())
}

func (u *upstream) letGo() {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, _ = u.udp.Close(), u.tcp.Close()
}

// newUpstream returns what makes the service's [Dial], for [serve].
func newUpstream(t testing.TB, answer func(network string, msg []byte) []byte) (*upstream, func(*place) Dial) {
	u := &upstream{t: t, answer: answer}
	return u, func(p *place) Dial {
		u.ns = p.ns
		u.listen()
		t.Cleanup(u.letGo)
		return u.dial
	}
}

func (u *upstream) dial(ctx context.Context, network string) (conn net.Conn, err error) {
	u.dials.Add(1)
	u.mu.Lock()
	addr := u.udp.LocalAddr().String()
	if network == "tcp" {
		addr = u.tcp.Addr().String()
	}
	u.mu.Unlock()
	err = u.ns.Do(func() error {
		var err error
		conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

func (u *upstream) serveUDP(conn *net.UDPConn) {
	buf := make([]byte, maxTCP)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		msg := append([]byte(nil), buf[:n]...)
		u.saw(msg)
		if reply := u.answer("udp", msg); reply != nil {
			_, _ = conn.WriteToUDPAddrPort(reply, from) // the test misses it
		}
	}
}

func (u *upstream) serveTCP(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			for {
				msg, err := readMessage(conn)
				if err != nil {
					return
				}
				u.saw(msg)
				if reply := u.answer("tcp", msg); reply != nil {
					_ = writeMessage(conn, reply) // the test misses it
				}
			}
		}()
	}
}

func (u *upstream) saw(msg []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen = append(u.seen, msg)
}

// waitSeen waits until that many queries have come, and returns all.
func (u *upstream) waitSeen(n int) [][]byte {
	u.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		u.mu.Lock()
		seen := append([][]byte(nil), u.seen...)
		u.mu.Unlock()
		if len(seen) >= n {
			return seen
		}
		<-time.After(time.Millisecond)
	}
	u.t.Fatalf("the upstream has not seen %d queries", n)
	return nil
}

// denial answers that there is no such name, with an option that ours would not make.
func denial(_ string, msg []byte) []byte {
	var m miekgdns.Msg
	if err := m.Unpack(msg); err != nil {
		return nil
	}
	r := new(miekgdns.Msg).SetRcode(&m, miekgdns.RcodeNameError)
	if opt := m.IsEdns0(); opt != nil {
		r.SetEdns0(1400, false)
		r.IsEdns0().Option = opt.Option
	}
	raw, err := r.Pack()
	if err != nil {
		return nil
	}
	return raw
}

// isClosed reports whether the other side has closed the connection.
func isClosed(conn net.Conn) bool {
	_, err := io.ReadAll(conn)
	var timeout net.Error
	return !errors.As(err, &timeout) || !timeout.Timeout()
}
