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
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotLocal says that a host address is not one of this host's.
var ErrNotLocal = errors.New("is not an address of this host")

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

// number is a port of whatever address of a family. What excludes a port has the
// same number, so that it is found at once however many are held.
type number struct {
	protocol uint8
	is4      bool
	port     uint16
}

func (p Port) number() number { return number{p.Protocol, p.Addr.Is4(), p.Port} }

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
	wait time.Duration // for a port that was just let go

	mu sync.Mutex // guards held and released
	// held has the socket of each port by its address, noSocket where the kernel
	// cannot make one.
	held map[number]map[netip.Addr]int
	// released has when ports were let go, of late.
	released map[number]time.Time
}

// noSocket stands for a port that is held against our own only.
const noSocket = -1

// New returns a holder that holds nothing.
func New() *Holder {
	return &Holder{
		wait: releasedWait,
		held: make(map[number]map[netip.Addr]int), released: make(map[number]time.Time),
	}
}

// Hold takes a port of addr and returns it. With port 0 the kernel chooses one of its
// local range (net.ipv4.ip_local_port_range) that is not reserved
// (net.ipv4.ip_local_reserved_ports).
//
// If it is taken, by another program or by a port that is held already, the error
// wraps [unix.EADDRINUSE]; an addr that is not this host's gives [ErrNotLocal].
func (h *Holder) Hold(proto uint8, addr netip.Addr, port uint16) (uint16, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := Port{Protocol: proto, Addr: addr, Port: port}
	if port == 0 {
		return h.holdAnyLocked(p)
	}
	return port, h.holdLocked(p)
}

// Ensure holds exactly that port, as Hold does, and is content if it is held already.
// It is for a repair that knows the port to be its own.
func (h *Holder) Ensure(proto uint8, addr netip.Addr, port uint16) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := Port{Protocol: proto, Addr: addr, Port: port}
	if _, ok := h.held[p.number()][addr]; ok {
		return nil
	}
	return h.holdLocked(p)
}

// Release lets go of a port; if it is not held, that is fine.
func (h *Holder) Release(proto uint8, addr netip.Addr, port uint16) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := Port{Protocol: proto, Addr: addr, Port: port}
	fd, ok := h.held[p.number()][addr]
	if !ok {
		return nil
	}
	delete(h.held[p.number()], addr)
	if len(h.held[p.number()]) == 0 {
		delete(h.held, p.number())
	}
	h.noteReleasedLocked(p.number())
	return closeSocket(p, fd)
}

// Held returns all ports that are held, sorted.
func (h *Holder) Held() []Port {
	h.mu.Lock()
	defer h.mu.Unlock()
	ports := make([]Port, 0, len(h.held))
	for n, sockets := range h.held {
		for addr := range sockets {
			ports = append(ports, Port{n.protocol, addr, n.port})
		}
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
	for n, sockets := range h.held {
		for addr, fd := range sockets {
			errs = append(errs, closeSocket(Port{n.protocol, addr, n.port}, fd))
		}
	}
	clear(h.held)
	return errors.Join(errs...)
}

func (h *Holder) holdLocked(p Port) error {
	if other, ok := h.overlapLocked(p); ok {
		return fmt.Errorf("host port %s: %w by the published port %s", p, unix.EADDRINUSE, other)
	}
	fd, err := h.openLocked(p)
	if err != nil {
		return err
	}
	h.keepLocked(p, fd)
	return nil
}

// keepLocked enters the socket of a port.
func (h *Holder) keepLocked(p Port, fd int) {
	sockets := h.held[p.number()]
	if sockets == nil {
		sockets = make(map[netip.Addr]int)
		h.held[p.number()] = sockets
	}
	sockets[p.Addr] = fd
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
	h.keepLocked(p, fd)
	return p.Port, nil
}

// choiceTries bounds the search of chooseLocked.
const choiceTries = 64

// chooseLocked takes a port where the kernel has no sockets of that protocol. It has
// the kernel choose one for datagrams, by the same settings, and uses the number.
func (h *Holder) chooseLocked(p Port) (uint16, error) {
	for range choiceTries {
		other := Port{Protocol: unix.IPPROTO_UDP, Addr: p.Addr}
		fd, err := open(other)
		if err != nil {
			return 0, err
		}
		p.Port, err = boundPort(fd)
		if err := errors.Join(err, closeSocket(other, fd)); err != nil {
			return 0, err
		}
		if _, taken := h.overlapLocked(p); !taken {
			h.keepLocked(p, noSocket)
			return p.Port, nil
		}
	}
	return 0, fmt.Errorf("any host port of %s/%s: %w", p.Addr, protocolName(p.Protocol), unix.EADDRINUSE)
}

// overlapLocked finds a held port that excludes p.
func (h *Holder) overlapLocked(p Port) (Port, bool) {
	for addr := range h.held[p.number()] {
		if addr == p.Addr || addr.IsUnspecified() || p.Addr.IsUnspecified() {
			return Port{p.Protocol, addr, p.Port}, true
		}
	}
	return Port{}, false
}
