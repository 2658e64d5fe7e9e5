package dns

import (
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batchSize is how many packets one system call may carry.
	batchSize = 32
	// packetSize is one byte more than the longest query, to tell a longer one.
	packetSize = maxUDP + 1
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr    unix.Msghdr
	length uint32
}

// batch has room for many packets and the answers to them. The kernel takes most of
// the time of a query; going to it once for many is what makes this server faster
// than an echo that goes for each. golang.org/x/net can do so too, but makes each
// sender's address anew and needs the room while it waits, in every sandbox.
type batch struct {
	recv, send [batchSize]mmsghdr
	iovs       [2 * batchSize]unix.Iovec
	senders    [batchSize]unix.RawSockaddrAny
	in, out    [batchSize][packetSize]byte
	// received and answers count what is in it.
	received, answers int
}

func newBatch() *batch {
	b := new(batch)
	for i := range batchSize {
		in, out := &b.iovs[i], &b.iovs[batchSize+i]
		in.Base = &b.in[i][0]
		in.SetLen(packetSize)
		b.recv[i].hdr.Iov, b.send[i].hdr.Iov = in, out
		b.recv[i].hdr.SetIovlen(1)
		b.send[i].hdr.SetIovlen(1)
		b.recv[i].hdr.Name = (*byte)(unsafe.Pointer(&b.senders[i])) //nolint:gosec // the kernel writes an address there
	}
	return b
}

// packet returns the i-th packet that was received.
func (b *batch) packet(i int) []byte { return b.in[i][:b.recv[i].length] }

// room returns where an answer may be written: its end is what was written so far.
func (b *batch) room() []byte { return b.out[b.answers][:0] }

// answer adds an answer to the i-th packet. It is in [batch.room] or elsewhere.
func (b *batch) answer(i int, reply []byte) {
	if len(reply) == 0 {
		return
	}
	m := &b.send[b.answers]
	m.hdr.Name, m.hdr.Namelen = b.recv[i].hdr.Name, b.recv[i].hdr.Namelen
	iov := &b.iovs[batchSize+b.answers]
	iov.Base = &reply[0]
	iov.SetLen(len(reply))
	b.answers++
}

// sender returns the address that the i-th packet came from.
func (b *batch) sender(i int) netip.AddrPort {
	port := func(p *uint16) uint16 {
		raw := (*[2]byte)(unsafe.Pointer(p)) //nolint:gosec // in network order whatever the machine's
		return uint16(raw[0])<<8 | uint16(raw[1])
	}
	switch b.senders[i].Addr.Family {
	case unix.AF_INET:
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&b.senders[i])) //nolint:gosec // the family says so
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), port(&sa.Port))
	case unix.AF_INET6:
		sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&b.senders[i])) //nolint:gosec // the family says so
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), port(&sa.Port))
	default:
		return netip.AddrPort{}
	}
}

// receive takes what has come, without waiting. The runtime is not told of a system call
// that never waits: it would take one of many packets for one that does, and have another
// thread take over.
func (b *batch) receive(fd uintptr) error {
	for i := range b.recv {
		b.recv[i].hdr.Namelen = uint32(unsafe.Sizeof(b.senders[i]))
	}
	b.received, b.answers = 0, 0
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.recv[0])), //nolint:gosec // recvmmsg(2)
			batchSize, unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			b.received = int(n)
			return nil
		}
		if errno != unix.EINTR {
			return errno
		}
	}
}

// transmit sends the answers from the given one on, without waiting, and returns
// how many went. As with receive, the runtime is not told.
func (b *batch) transmit(fd uintptr, from int) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&b.send[from])), //nolint:gosec // sendmmsg(2)
			uintptr(b.answers-from), unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			return int(n), nil
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// drained forgets where answers were, so that a batch that nobody uses keeps no
// other memory alive.
func (b *batch) drained() {
	for i := range b.answers {
		b.iovs[batchSize+i].Base = nil
	}
}

// wouldBlock reports whether the kernel has nothing, or no room, right now.
func wouldBlock(err error) bool { return errors.Is(err, unix.EAGAIN) }
