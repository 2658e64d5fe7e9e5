// Package hostport holds ports of the host for as long as they are published.
//
// A published port is a rule of the firewall: no program listens on it, so the
// kernel would let another program bind it and never hear a word. A [Holder] binds
// a socket there, which gives that program the usual "address already in use", and
// finds ports that are taken before a rule takes them over. Nothing is ever read
// from or written to these sockets.
package hostport

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrNotLocal says that a host address is not one of this host's.
var ErrNotLocal = errors.New("is not an address of this host")

// The ports that are chosen from where the kernel cannot be asked (RFC 6335 section 6).
const (
	firstDynamic = 49152
	lastDynamic  = 65535
)

// Port is a port of the host.
type Port struct {
	// Protocol is the IP protocol number: 6 TCP, 17 UDP, 132 SCTP.
	Protocol uint8
	// Addr is the host's address; unspecified means every one of that family.
	Addr netip.Addr
	Port uint16
}

// String returns the form "0.0.0.0:8080/tcp".
func (p Port) String() string {
	return fmt.Sprintf("%s/%s", netip.AddrPortFrom(p.Addr, p.Port), protocolName(p.Protocol))
}

// overlaps reports whether the two cannot be published at the same time.
func (p Port) overlaps(q Port) bool {
	return p.Protocol == q.Protocol && p.Port == q.Port && p.Addr.Is4() == q.Addr.Is4() &&
		(p.Addr == q.Addr || p.Addr.IsUnspecified() || q.Addr.IsUnspecified())
}

func protocolName(p uint8) string {
	switch p {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_SCTP:
		return "sctp"
	default:
		return fmt.Sprintf("protocol %d", p)
	}
}

// Holder holds ports in the network namespace of the threads that call it. It is
// safe for concurrent use.
type Holder struct {
	mu sync.Mutex // guards held
	// held has the socket of each port, noSocket where the kernel cannot make one.
	held map[Port]int
}

// noSocket stands for a port that is held against our own only.
const noSocket = -1

// New returns a holder that holds nothing.
func New() *Holder { return &Holder{held: make(map[Port]int)} }

// Hold takes the first port from first to last that is free on addr, and returns
// it. With first 0 the kernel chooses one of its local range
// (net.ipv4.ip_local_port_range).
//
// If all are taken, by another program or by a port that is held already, the error
// wraps [unix.EADDRINUSE]; an addr that is not this host's gives [ErrNotLocal].
func (h *Holder) Hold(proto uint8, addr netip.Addr, first, last uint16) (uint16, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if first == 0 {
		return h.holdAnyLocked(Port{Protocol: proto, Addr: addr})
	}
	var err error
	for port := int(first); port <= int(max(first, last)); port++ {
		p := Port{Protocol: proto, Addr: addr, Port: uint16(port)} //nolint:gosec // it is between two of 16 bits
		if err = h.holdLocked(p); err == nil {
			return p.Port, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return 0, err
		}
	}
	if last > first {
		err = fmt.Errorf("host ports %s to %d are all taken: %w", Port{proto, addr, first}, last, unix.EADDRINUSE)
	}
	return 0, err
}

// Ensure holds exactly that port, as Hold does, and is content if it is held already.
// It is for a repair that knows the port to be its own.
func (h *Holder) Ensure(proto uint8, addr netip.Addr, port uint16) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := Port{Protocol: proto, Addr: addr, Port: port}
	if _, ok := h.held[p]; ok {
		return nil
	}
	return h.holdLocked(p)
}

// Release lets go of a port; if it is not held, that is fine.
func (h *Holder) Release(proto uint8, addr netip.Addr, port uint16) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := Port{Protocol: proto, Addr: addr, Port: port}
	fd, ok := h.held[p]
	if !ok {
		return nil
	}
	delete(h.held, p)
	return closeSocket(p, fd)
}

// Held returns all ports that are held, sorted.
func (h *Holder) Held() []Port {
	h.mu.Lock()
	defer h.mu.Unlock()
	ports := make([]Port, 0, len(h.held))
	for p := range h.held {
		ports = append(ports, p)
	}
	slices.SortFunc(ports, func(a, b Port) int {
		if c := a.Addr.Compare(b.Addr); c != 0 {
			return c
		}
		if a.Port != b.Port {
			return int(a.Port) - int(b.Port)
		}
		return int(a.Protocol) - int(b.Protocol)
	})
	return ports
}

// Close lets go of all ports.
func (h *Holder) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for p, fd := range h.held {
		errs = append(errs, closeSocket(p, fd))
	}
	clear(h.held)
	return errors.Join(errs...)
}

func (h *Holder) holdLocked(p Port) error {
	if other, ok := h.overlapLocked(p); ok {
		return fmt.Errorf("host port %s: %w by the published port %s", p, unix.EADDRINUSE, other)
	}
	fd, err := open(p)
	if err != nil {
		return err
	}
	h.held[p] = fd
	return nil
}

// holdAnyLocked takes a port of the kernel's choice; p.Port is 0.
func (h *Holder) holdAnyLocked(p Port) (uint16, error) {
	fd, err := open(p)
	if err != nil {
		return 0, err
	}
	if fd == noSocket {
		return h.chooseLocked(p)
	}
	if p.Port, err = boundPort(fd); err != nil {
		return 0, errors.Join(fmt.Errorf("host port %s: %w", p, err), closeSocket(p, fd))
	}
	h.held[p] = fd
	return p.Port, nil
}

// chooseLocked takes a port where the kernel has no sockets of that protocol.
func (h *Holder) chooseLocked(p Port) (uint16, error) {
	for port := firstDynamic; port <= lastDynamic; port++ {
		p.Port = uint16(port)
		if _, taken := h.overlapLocked(p); !taken {
			h.held[p] = noSocket
			return p.Port, nil
		}
	}
	return 0, fmt.Errorf("any host port of %s/%s: %w", p.Addr, protocolName(p.Protocol), unix.EADDRINUSE)
}

// overlapLocked finds a held port that excludes p. It looks at the few that can,
// unless p is for every address.
func (h *Holder) overlapLocked(p Port) (Port, bool) {
	if !p.Addr.IsUnspecified() {
		every := netip.IPv4Unspecified()
		if p.Addr.Is6() {
			every = netip.IPv6Unspecified()
		}
		for _, q := range []Port{p, {p.Protocol, every, p.Port}} {
			if _, ok := h.held[q]; ok {
				return q, true
			}
		}
		return Port{}, false
	}
	for q := range h.held {
		if p.overlaps(q) {
			return q, true
		}
	}
	return Port{}, false
}
