package netnstest

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// passes is more than the devices that a packet, what has to be found out for it
// (ARP, neighbour discovery) and its answer go through on any test's way.
const passes = 100

// Settle returns when all packets that were sent before, and all that the kernel sent
// in return, have arrived or were dropped, in whichever namespace. What a program has
// to answer it cannot know of; see that it has read everything, then call it again.
//
// A packet that is given to a veth device or to the loopback device is queued on the
// CPU that sends it, and whatever follows from it (the bridge, the way through the
// host, the answer) is done and queued on that CPU as well, first come, first served
// (netif_rx, process_backlog). So a marker that goes through that queue as often as
// the longest chain of packets is behind all of them. It is sent on each CPU that
// this process may use.
//
// Nothing in this may have to wait for a timer or for one of the kernel's workers, as
// a device does that is not up yet, and a router that has yet to find an IPv6 neighbour
// and whose own address is still tentative.
func (ns *Namespace) Settle(t testing.TB) {
	t.Helper()
	err := ns.Do(func() error {
		var all unix.CPUSet
		if err := unix.SchedGetaffinity(0, &all); err != nil {
			return err
		}
		for cpu, left := 0, all.Count(); left > 0; cpu++ {
			if !all.IsSet(cpu) {
				continue
			}
			left--
			if err := pass(cpu); err != nil {
				return fmt.Errorf("pass through the queue of CPU %d: %w", cpu, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("wait for packets: %v", err)
	}
}

// pass sends a marker to the thread itself, time and again, on one CPU. The thread
// stays there; it is thrown away.
func pass(cpu int) (err error) {
	var only unix.CPUSet
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	// The loopback device loses nothing, so that to wait in vain is an error.
	patience := unix.Timeval{Sec: 10}
	self := &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	if err := errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience), unix.Bind(fd, self)); err != nil {
		return err
	}
	at, err := unix.Getsockname(fd)
	if err == nil {
		err = unix.Connect(fd, at)
	}
	for i := 0; i < passes && err == nil; i++ {
		if _, err = unix.Write(fd, []byte("!")); err == nil {
			_, err = unix.Read(fd, make([]byte, 1))
		}
	}
	return err
}
