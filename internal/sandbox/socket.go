package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// receiveBuffer is room for some thousand queries: a program that starts asks
	// for many names at once, and what finds no room is asked again after seconds.
	receiveBuffer = 1 << 20

	// dnsPort is what clients send to.
	dnsPort = 53
)

// resolver is the address of a container's resolver, which the engine gives it.
func resolver() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 11}) }

// Sandbox is one that is open.
type Sandbox struct {
	// UDP and TCP get the queries. Whoever uses them may close them.
	UDP *net.UDPConn
	TCP *net.TCPListener

	ns    *namespace
	table *table
	mark  uint32
	gone  chan struct{}

	// renewed is when the rules were last given their time; guarded by Sandboxes.mu.
	renewed time.Time
	// failing is whether the last heartbeat failed, which is told once; it is of
	// whoever has the turn.
	failing bool
}

// openSandbox makes sockets and rules in a namespace, which belongs to it from now on.
func (s *Sandboxes) openSandbox(key string, ns *namespace) (_ *Sandbox, err error) {
	b := &Sandbox{ns: ns, mark: s.opts.Mark, gone: make(chan struct{}), renewed: time.Now()}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	err = ns.do(func() error {
		var err error
		if b.table, err = s.openTable(); err != nil {
			return err
		}
		before, err := b.table.ports()
		if err != nil {
			return err
		}
		return b.listen(before)
	})
	if err != nil {
		return nil, err
	}
	b.table.to = ports{udp: localPort(b.UDP.LocalAddr()), tcp: localPort(b.TCP.Addr())}
	if err := b.table.set(); err != nil {
		return nil, err
	}
	s.log.WithField("sandbox", key).Debug("sandbox opened")
	return b, nil
}

// listen opens the sockets, at the ports of before where these are free. It runs in
// the namespace.
func (b *Sandbox) listen(before ports) error {
	udp, err := listenAt(before.udp, func(addr string) (net.PacketConn, error) {
		return (&net.ListenConfig{Control: roomy}).ListenPacket(context.Background(), "udp4", addr)
	})
	if err != nil {
		return fmt.Errorf("open a UDP socket: %w", err)
	}
	b.UDP, _ = udp.(*net.UDPConn) // "udp4" makes no other
	tcp, err := listenAt(before.tcp, func(addr string) (net.Listener, error) {
		return new(net.ListenConfig).Listen(context.Background(), "tcp4", addr)
	})
	if err != nil {
		return fmt.Errorf("open a TCP socket: %w", err)
	}
	b.TCP, _ = tcp.(*net.TCPListener) // "tcp4" makes no other
	return nil
}

// listenAt calls listen with the port, and if it is taken, with any.
func listenAt[L any](port uint16, listen func(addr string) (L, error)) (L, error) {
	l, err := listen(netip.AddrPortFrom(resolver(), port).String())
	if port != 0 && errors.Is(err, unix.EADDRINUSE) {
		return listen(netip.AddrPortFrom(resolver(), 0).String())
	}
	return l, err
}

func roomy(_, _ string, c syscall.RawConn) (err error) {
	cerr := c.Control(func(fd uintptr) {
		// FORCE goes beyond net.core.rmem_max, which the container's host has set.
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	})
	return errors.Join(cerr, err)
}

func localPort(a net.Addr) uint16 {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return 0 // no such thing of a socket that is open
	}
	return ap.Port()
}

// Dial opens a connection to the engine's resolver, "udp" or "tcp", past our rules.
func (b *Sandbox) Dial(ctx context.Context, network string) (conn net.Conn, err error) {
	d := net.Dialer{Control: b.marked}
	err = b.ns.do(func() error {
		var err error
		conn, err = d.DialContext(ctx, network, netip.AddrPortFrom(resolver(), dnsPort).String())
		return err
	})
	return conn, err
}

func (b *Sandbox) marked(_, _ string, c syscall.RawConn) (err error) {
	cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(b.mark))
	})
	return errors.Join(cerr, err)
}

// Gone is closed when the sandbox is to be: it was removed, or its namespace is gone.
// The sockets are closed after that, so that who finds them closed knows why.
func (b *Sandbox) Gone() <-chan struct{} { return b.gone }

// close closes the sockets and leaves the rules, which lead nowhere soon. Errors
// say that something is closed already.
func (b *Sandbox) close() {
	close(b.gone)
	if b.UDP != nil {
		_ = b.UDP.Close() // see above
	}
	if b.TCP != nil {
		_ = b.TCP.Close() // see above
	}
	if b.table != nil {
		b.table.close()
	}
	b.ns.close()
}
