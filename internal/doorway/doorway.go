// Package doorway opens the sockets at which a network is answered by its host.
//
// They are at one address of one device, and get what comes in by that device alone:
// nobody elsewhere can send to them. The package knows nothing of what is asked and
// answered there.
package doorway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// receiveBuffer is room for some thousand packets of all the network's containers.
const receiveBuffer = 4 << 20

// ErrNoDevice says that there is no such device.
var ErrNoDevice = errors.New("no such device")

// Doorway is a pair of sockets at one address. Whoever uses them may close them.
type Doorway struct {
	UDP *net.UDPConn
	TCP net.Listener

	device string
}

// Open opens the sockets. The device need not have the address yet. An error that wraps
// [ErrNoDevice] means that there is no device.
func Open(ctx context.Context, device string, at netip.AddrPort) (*Doorway, error) {
	family := "4"
	if at.Addr().Is6() {
		family = "6"
	}
	lc := net.ListenConfig{Control: func(network, _ string, c syscall.RawConn) error { return prepare(network, device, c) }}
	udp, err := lc.ListenPacket(ctx, "udp"+family, at.String())
	if err != nil {
		return nil, explain(device, err)
	}
	tcp, err := lc.Listen(ctx, "tcp"+family, at.String())
	if err != nil {
		return nil, errors.Join(explain(device, err), udp.Close())
	}
	d := &Doorway{TCP: tcp, device: device}
	d.UDP, _ = udp.(*net.UDPConn) // "udp4" and "udp6" make no other
	return d, nil
}

// explain tells the one error that is no fault.
func explain(device string, err error) error {
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("listen on %s: %w", device, ErrNoDevice)
	}
	return fmt.Errorf("listen on %s: %w", device, err)
}

// prepare sets a socket's options before it gets its address.
func prepare(network, device string, c syscall.RawConn) (err error) {
	cerr := c.Control(func(raw uintptr) {
		fd := int(raw)
		if err = unix.BindToDevice(fd, device); err != nil {
			return
		}
		// The bridge may get its address a moment later, or again.
		level, option := unix.SOL_IP, unix.IP_FREEBIND
		if network[len(network)-1] == '6' {
			level, option = unix.SOL_IPV6, unix.IPV6_FREEBIND
		}
		if err = unix.SetsockoptInt(fd, level, option, 1); err != nil || network[:3] != "udp" {
			return
		}
		// FORCE goes beyond net.core.rmem_max.
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	})
	return errors.Join(cerr, err)
}

// Leads reports whether the sockets still get anything. They are bound to a device, not
// to its name: when it is deleted they are deaf, also if another has its name by then.
func (d *Doorway) Leads() bool {
	raw, err := d.UDP.SyscallConn()
	if err != nil {
		return false
	}
	var name string
	cerr := raw.Control(func(fd uintptr) {
		name, err = unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
	})
	return cerr == nil && err == nil && name == d.device
}

// Close closes both sockets; those that are closed already are fine.
func (d *Doorway) Close() {
	_, _ = d.UDP.Close(), d.TCP.Close() // nothing was written that is not lost anyway
}
