package netnstest

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// Outcome is how an [Attempt] stands.
type Outcome string

// What comes of an attempt.
const (
	// Silence is neither a connection nor a refusal nor an answer.
	Silence Outcome = "silence"
	// Refusal is that of a host on the way, or at its end.
	Refusal Outcome = "refusal"
	// Answer is a connection (TCP), a datagram in return or the answer to a ping.
	Answer Outcome = "answer"
)

// Attempt is the first packet of something that a test expects not to get through:
// of a TCP connection, a datagram or a ping. What came of it is there to be read after
// [Namespace.Settle], so that nobody need wait for what does not come.
type Attempt struct {
	fd      int
	network string
	// unsent says that the packet did not leave its own namespace.
	unsent bool
}

// Attempt sends the packet; network is "tcp", "udp" or "ping", which needs no port.
func (ns *Namespace) Attempt(t testing.TB, network string, to netip.AddrPort) *Attempt {
	t.Helper()
	a := &Attempt{network: network}
	if err := ns.Do(func() error { return a.send(to) }); err != nil {
		t.Fatalf("send %s to %s: %v", network, to, err)
	}
	t.Cleanup(func() {
		if err := unix.Close(a.fd); err != nil {
			t.Errorf("close %s to %s: %v", network, to, err)
		}
	})
	return a
}

func (a *Attempt) send(to netip.AddrPort) (err error) {
	family, icmp, port := unix.AF_INET, unix.IPPROTO_ICMP, int(to.Port())
	// An echo request without a body; the checksum of ICMPv6 is the kernel's to add (raw(7)).
	packet := []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}
	if to.Addr().Is6() {
		family, icmp, packet[0] = unix.AF_INET6, unix.IPPROTO_ICMPV6, 128
	}
	const flags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	switch a.network {
	case "tcp":
		a.fd, err = unix.Socket(family, unix.SOCK_STREAM|flags, 0)
	case "udp":
		packet = []byte("?")
		a.fd, err = unix.Socket(family, unix.SOCK_DGRAM|flags, 0)
	case "ping":
		port = 0
		a.fd, err = unix.Socket(family, unix.SOCK_RAW|flags, icmp)
	default:
		return fmt.Errorf("network %s is none of tcp, udp and ping", a.network)
	}
	if err != nil {
		return err
	}
	var sa unix.Sockaddr = &unix.SockaddrInet6{Addr: to.Addr().As16(), Port: port}
	if to.Addr().Is4() {
		sa = &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: port}
	}
	err = unix.Connect(a.fd, sa)
	if err == nil && a.network != "tcp" {
		_, err = unix.Write(a.fd, packet)
	}
	// What the sender's own packet filter drops is told to the sender.
	a.unsent = errors.Is(err, unix.EPERM)
	if a.unsent || errors.Is(err, unix.EINPROGRESS) {
		return nil
	}
	return errors.Join(err, a.closeAfter(err))
}

func (a *Attempt) closeAfter(err error) error {
	if err == nil {
		return nil
	}
	return unix.Close(a.fd)
}

// Outcome returns what has come of it until now.
func (a *Attempt) Outcome() (Outcome, error) {
	if a.unsent {
		return Silence, nil
	}
	code, err := unix.GetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return "", err
	case unix.Errno(code) == unix.ECONNREFUSED:
		return Refusal, nil
	case code != 0:
		return "", unix.Errno(code)
	case a.network == "tcp":
		_, err := unix.Getpeername(a.fd)
		if errors.Is(err, unix.ENOTCONN) {
			return Silence, nil
		}
		return Answer, err
	}
	return a.read()
}

func (a *Attempt) read() (Outcome, error) {
	buf := make([]byte, 1500)
	for {
		n, err := unix.Read(a.fd, buf)
		if errors.Is(err, unix.EAGAIN) {
			return Silence, nil
		}
		if err != nil {
			return "", err
		}
		// An IPv4 raw socket gives the header too (20 bytes, version 4). Of what else
		// the other end says by ICMP nothing is an answer: 0 and 129 are echo replies.
		packet := buf[:n]
		if a.network == "ping" && n > 20 && packet[0]>>4 == 4 {
			packet = packet[20:]
		}
		if a.network == "udp" || len(packet) > 0 && (packet[0] == 0 || packet[0] == 129) {
			return Answer, nil
		}
	}
}
