package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// channel is a netlink socket to the nftables of one namespace. It sends transactions
// that are made as bytes: the heartbeat's is the same again and again, a host has a
// thousand containers, and the library would make it anew and read what nobody needs.
// Nor can the library say the direction of a zone.
type channel struct{ fd int }

// openChannel opens the one of the namespace that the thread is in.
func openChannel() (channel, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return channel{}, fmt.Errorf("open a netlink socket: %w", err)
	}
	return channel{fd}, nil
}

func (c channel) close() { _ = unix.Close(c.fd) } // nothing is buffered that could be lost

// send has the kernel do a transaction as a whole, or nothing of it. The error is the
// first that it has, a [unix.Errno].
func (c channel) send(transaction []byte) error {
	if err := unix.Sendto(c.fd, transaction, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send to nftables: %w", err)
	}
	// The kernel has done it when the call returns, and what it says is there. Only
	// the last message asks for a word if all is well; if not, each has its own.
	err := c.read()
	if err == nil || errors.Is(err, errSilent) {
		return err
	}
	for {
		if more := c.read(); errors.Is(more, errSilent) {
			return err
		}
	}
}

// errSilent says that the kernel has nothing more to say.
var errSilent = errors.New("no answer of nftables")

// read reads one acknowledgement, struct nlmsgerr of netlink(7).
func (c channel) read() error {
	var buf [256]byte
	for {
		n, _, err := unix.Recvfrom(c.fd, buf[:], unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return errSilent
		case err != nil:
			return fmt.Errorf("read from nftables: %w", err)
		case n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(buf[4:]) != unix.NLMSG_ERROR:
			return errors.New("nftables answered something strange")
		}
		code := int32(binary.NativeEndian.Uint32(buf[unix.SizeofNlMsghdr:])) //nolint:gosec // it is signed there
		if code != 0 {
			return unix.Errno(-code) //nolint:gosec // errors are below zero there
		}
		return nil
	}
}

// What a message does to what it names.
const (
	create = unix.NLM_F_CREATE
	// appended is for rules, which would come first otherwise.
	appended = unix.NLM_F_CREATE | unix.NLM_F_APPEND
)

// order is one message of a transaction.
type order struct {
	kind  uint16 // NFT_MSG_*
	flags uint16
	body  []byte
}

// transaction has the orders done all or none. The last one has the kernel say that it
// is done.
func transaction(orders ...order) []byte {
	m := message(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	for i, o := range orders {
		if i == len(orders)-1 {
			o.flags |= unix.NLM_F_ACK
		}
		m = append(m, message(unix.NFNL_SUBSYS_NFTABLES<<8|o.kind, o.flags, unix.NFPROTO_IPV4, 0, o.body)...)
	}
	return append(m, message(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)...)
}

// message returns a message with the headers of netlink(7) and of nfnetlink
// (struct nfgenmsg in include/uapi/linux/netfilter/nfnetlink.h).
func message(kind, flags uint16, family byte, resource uint16, body []byte) []byte {
	size := unix.SizeofNlMsghdr + 4 + len(body)
	m := binary.NativeEndian.AppendUint32(nil, uint32(size)) //nolint:gosec // some hundred bytes
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|flags)
	m = append(m, make([]byte, 8)...) // no sequence, from nobody
	m = append(m, family, 0)
	m = binary.BigEndian.AppendUint16(m, resource)
	return pad(append(m, body...))
}

func attribute(kind uint16, value []byte) []byte {
	a := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value))) //nolint:gosec // some hundred bytes
	a = binary.NativeEndian.AppendUint16(a, kind)
	return pad(append(a, value...))
}

// nested is an attribute of attributes.
func nested(kind uint16, parts ...[]byte) []byte {
	var value []byte
	for _, p := range parts {
		value = append(value, p...)
	}
	return attribute(kind|unix.NLA_F_NESTED, value)
}

func text(kind uint16, s string) []byte { return attribute(kind, append([]byte(s), 0)) }

func number(kind uint16, n uint32) []byte {
	return attribute(kind, binary.BigEndian.AppendUint32(nil, n))
}

// pad fills up to the boundary that netlink wants, NLMSG_ALIGN and NLA_ALIGN.
func pad(b []byte) []byte {
	for len(b)%unix.NLA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}
