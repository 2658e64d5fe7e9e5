package dns

import (
	"net"
	"strings"
	"testing"
	"time"

	miekgdns "github.com/miekg/dns"
)

func TestServe_answersOverBothTransports(t *testing.T) {
	t.Parallel()
	p := serve(t, office(), Options{}, nobody)
	for _, addr := range []net.Addr{p.udp, p.tcp} {
		msg := asked("web.lab", typeA, withEDNS(1232))
		reply := ask(t, p.dial(addr), msg)
		checkReply(t, msg, reply, overTCP)
		if got, want := shown(t, reply), "Success aa rd ra\nweb.lab. 5 10.0.0.2\nopt 4096 do=false"; got != want {
			t.Errorf("over %s: %s, want %s", addr.Network(), got, want)
		}
	}
}

func TestServe_aClientOfTheLibraryGoesOnByTCP(t *testing.T) {
	t.Parallel()
	p := serve(t, crowd(300), Options{}, nobody)
	m := new(miekgdns.Msg).SetQuestion("crowd.", typeA)
	reply, _, err := new(miekgdns.Client).ExchangeWithConn(m, &miekgdns.Conn{Conn: p.dial(p.udp)})
	if err != nil || !reply.Truncated || len(reply.Answer) != 30 {
		t.Fatalf("over UDP: %v, %v", reply, err)
	}
	reply, _, err = (&miekgdns.Client{Net: "tcp"}).ExchangeWithConn(m, &miekgdns.Conn{Conn: p.dial(p.tcp)})
	if err != nil || reply.Truncated || len(reply.Answer) != 300 {
		t.Fatalf("over TCP: %v, %v", reply, err)
	}
}

func TestServe_manyPacketsAtOnce(t *testing.T) {
	t.Parallel()
	p := serve(t, office(), Options{}, nobody)
	conn := p.dial(p.udp)
	// More than one batch, and no more than the socket has room for.
	const packets = 3 * batchSize
	for i := range packets {
		send(t, conn, asked("web", typeA, func(m *miekgdns.Msg) { m.Id = uint16(i) }))
	}
	seen := make(map[uint16]bool)
	for range packets {
		var m miekgdns.Msg
		if err := m.Unpack(receive(t, conn)); err != nil || len(m.Answer) != 1 {
			t.Fatalf("%v, %v", m.Answer, err)
		}
		seen[m.Id] = true
	}
	if len(seen) != packets {
		t.Errorf("%d different answers, want %d", len(seen), packets)
	}
}

func TestServe_noiseOverUDPIsNoMatter(t *testing.T) {
	t.Parallel()
	p := serve(t, office(), Options{}, nobody)
	conn := p.dial(p.udp)
	send(t, conn, []byte{1, 2, 3})
	send(t, conn, make([]byte, maxUDP+100))
	send(t, conn, nil)
	answer := asked("web", typeA, func(m *miekgdns.Msg) { m.Response = true })
	send(t, conn, answer)
	if got := shown(t, ask(t, conn, asked("web", typeA))); !strings.HasPrefix(got, "Success") {
		t.Errorf("after noise: %s", got)
	}
}

func TestServe_answersOutOfOrderOnOneConnection(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	u, dial := newUpstream(t, func(network string, msg []byte) []byte {
		<-release
		return denial(network, msg)
	})
	p := serve(t, office(), Options{}, dial)
	conn := p.dial(p.tcp)
	send(t, conn, asked("slow.example", typeA, func(m *miekgdns.Msg) { m.Id = 1 }))
	u.waitSeen(1)
	for i := uint16(2); i < 5; i++ {
		reply := ask(t, conn, asked("web", typeA, func(m *miekgdns.Msg) { m.Id = i }))
		if reply[1] != byte(i) {
			t.Fatalf("answer %d came before %d", reply[1], i)
		}
	}
	close(release)
	if got := shown(t, receive(t, conn)); got != "NameError rd" {
		t.Errorf("the slow answer is %s", got)
	}
}

func TestServe_onePipelineIsBounded(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	u, dial := newUpstream(t, func(network string, msg []byte) []byte {
		<-release
		return denial(network, msg)
	})
	p := serve(t, office(), Options{}, dial)
	conn := p.dial(p.tcp)
	for i := range pipelined {
		send(t, conn, asked("slow.example", typeA, func(m *miekgdns.Msg) { m.Id = uint16(i) }))
	}
	u.waitSeen(pipelined)
	if got := shown(t, ask(t, conn, asked("slow.example", typeA))); got != "ServerFailure rd ra" {
		t.Errorf("one more is answered %s", got)
	}
	close(release)
	for range pipelined {
		if got := shown(t, receive(t, conn)); got != "NameError rd" {
			t.Fatalf("one of those that waited is answered %s", got)
		}
	}
}

func TestServe_aClientThatClosesItsSideGetsItsAnswer(t *testing.T) {
	t.Parallel()
	_, dial := newUpstream(t, denial)
	p := serve(t, office(), Options{}, dial)
	conn := p.dial(p.tcp)
	send(t, conn, asked("example.com", typeA))
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil { //nolint:errcheck // the address says TCP
		t.Fatal(err)
	}
	if got := shown(t, receive(t, conn)); got != "NameError rd" {
		t.Errorf("answer = %s", got)
	}
}

func TestServe_connectionsAreBounded(t *testing.T) {
	t.Parallel()
	p := serve(t, office(), Options{Connections: 2}, nobody)
	first, second := p.dial(p.tcp), p.dial(p.tcp)
	ask(t, first, asked("web", typeA))
	ask(t, second, asked("web", typeA))
	if !isClosed(p.dial(p.tcp)) {
		t.Fatal("a third connection is open")
	}
	ask(t, first, asked("web", typeA))
	// Whoever goes makes room.
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; {
		conn := p.dial(p.tcp)
		if writeMessage(conn, asked("web", typeA)) == nil {
			if _, err := readMessage(conn); err == nil {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatal("no connection is taken after one was closed")
		}
	}
}

func TestServe_idleConnectionIsClosed(t *testing.T) {
	t.Parallel()
	p := serve(t, office(), Options{IdleTimeout: 50 * time.Millisecond}, nobody)
	idle, half := p.dial(p.tcp), p.dial(p.tcp)
	if _, err := half.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	if !isClosed(idle) || !isClosed(half) {
		t.Error("a connection that says nothing is still open")
	}
}

func TestServe_aClientThatDoesNotReadLosesTheConnection(t *testing.T) {
	t.Parallel()
	p := serve(t, crowd(4000), Options{WriteTimeout: 50 * time.Millisecond}, nobody)
	slow := p.dial(p.tcp)
	// Each answer has 64 kB; the kernel takes some MB and then no more.
	var err error
	for end := time.Now().Add(patience); err == nil && time.Now().Before(end); {
		err = writeMessage(slow, asked("crowd", typeA))
	}
	if err == nil {
		t.Fatal("a client that does not read may ask for ever")
	}
	ask(t, p.dial(p.udp), asked("crowd", typeA))
}

func TestServe_endsWhenASocketIsGone(t *testing.T) {
	t.Parallel()
	for _, which := range []string{"udp", "tcp"} {
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			done <- New(quiet(), office(), Options{}).Serve(t.Context(), box, Sockets{UDP: udp, TCP: tcp, Dial: nobody(nil)})
		}()
		if which == "udp" {
			_ = udp.Close()
		} else {
			_ = tcp.Close()
		}
		if err := <-done; err == nil {
			t.Errorf("no error when the %s socket is gone", which)
		}
	}
}
