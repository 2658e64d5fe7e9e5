package hostport

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// open binds a socket to p, or returns noSocket if the kernel does not have p's
// protocol; then no other program can have the port either.
func open(p Port) (int, error) {
	kind := unix.SOCK_STREAM
	if p.Protocol == unix.IPPROTO_UDP {
		kind = unix.SOCK_DGRAM
	}
	family := unix.AF_INET
	if p.Addr.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, int(p.Protocol))
	if p.Protocol == unix.IPPROTO_SCTP && errors.Is(err, unix.EPROTONOSUPPORT) {
		return noSocket, nil
	}
	if err != nil {
		return 0, fmt.Errorf("hold host port %s: open socket: %w", p, err)
	}
	if err := bind(fd, p); err != nil {
		return 0, errors.Join(explain(p, err), closeSocket(p, fd))
	}
	return fd, nil
}

func bind(fd int, p Port) error {
	if p.Addr.Is6() {
		// Only IPv6: the IPv4 port is held, or free, by itself.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
	}
	if p.Protocol == unix.IPPROTO_TCP && p.Port != 0 {
		return bindTCP(fd, p)
	}
	if p.Protocol == unix.IPPROTO_UDP {
		// Nobody reads what might arrive past the rules; keep the least of it.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0); err != nil {
			return err
		}
	}
	return unix.Bind(fd, sockaddr(p))
}

// bindTCP binds so that no other program can, and so that connections which a
// program here closed within the last minute (TIME_WAIT) do not stand in the way.
//
// The second needs SO_REUSEADDR. But with it alone the port would not be held:
// another socket with SO_REUSEADDR, which nearly every server sets, may share a
// port that nobody listens on. To listen all the time is no way either: if the
// rules are lost for a moment, clients would be accepted and never answered
// instead of refused. So it listens for an instant, which makes the kernel forget
// that the port was taken with that option (inet_csk_update_fastreuse in
// net/ipv4/inet_connection_sock.c), takes the option back, and stops to listen; the
// socket stays bound, since the port was named (SOCK_BINDPORT_LOCK).
func bindTCP(fd int, p Port) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(fd, sockaddr(p)); err != nil {
		return err
	}
	if err := unix.Listen(fd, 0); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0); err != nil {
		return err
	}
	return unix.Shutdown(fd, unix.SHUT_RD)
}

func explain(p Port, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE) && p.Port == 0:
		return fmt.Errorf("any host port of %s/%s: %w", p.Addr, protocolName(p.Protocol), err)
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("host port %s is already in use: %w", p, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("host port %s: %s %w", p, p.Addr, ErrNotLocal)
	default:
		return fmt.Errorf("hold host port %s: %w", p, err)
	}
}

func sockaddr(p Port) unix.Sockaddr {
	if p.Addr.Is6() {
		return &unix.SockaddrInet6{Port: int(p.Port), Addr: p.Addr.As16()}
	}
	return &unix.SockaddrInet4{Port: int(p.Port), Addr: p.Addr.As4()}
}

func boundPort(fd int) (uint16, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, fmt.Errorf("ask for the chosen port: %w", err)
	}
	port := 0
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		port = sa.Port
	case *unix.SockaddrInet6:
		port = sa.Port
	}
	return uint16(port), nil
}

func closeSocket(p Port, fd int) error {
	if fd == noSocket {
		return nil
	}
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("let go of host port %s: %w", p, err)
	}
	return nil
}
