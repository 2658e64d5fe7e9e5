package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// pulse is the heartbeat of one table: a message that is made once and sent again and
// again, from a netlink socket in the namespace. The library would make and read anew
// what never changes, and a host has a thousand containers.
type pulse struct {
	fd      int
	message []byte
}

// openPulse returns the heartbeat of the namespace that the thread is in.
func openPulse(opts Options) (*pulse, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return &pulse{fd: fd, message: renewal(opts.Name)}, nil
}

func (p *pulse) close() { _ = unix.Close(p.fd) } // nothing is buffered that could be lost

// beat gives the port its time anew. The error wraps ENOENT if there is no such set.
func (p *pulse) beat() error {
	if err := unix.Sendto(p.fd, p.message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send to nftables: %w", err)
	}
	// The kernel has done it when the call returns, and what it says is there. Only
	// the last message asks for a word if all is well; if not, each has its own.
	err := p.read()
	if err == nil || errors.Is(err, errSilent) {
		return err
	}
	for {
		if more := p.read(); errors.Is(more, errSilent) {
			return err
		}
	}
}

// errSilent says that the kernel has nothing more to say.
var errSilent = errors.New("no answer of nftables")

// read reads one acknowledgement, struct nlmsgerr of netlink(7).
func (p *pulse) read() error {
	var buf [256]byte
	for {
		n, _, err := unix.Recvfrom(p.fd, buf[:], unix.MSG_DONTWAIT)
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

// renewal returns the transaction that empties the set and adds the port. Kernels before
// 6.12 do not renew the time of an element that is there, so it is taken away first.
func renewal(table string) []byte {
	set := append(attribute(unix.NFTA_SET_ELEM_LIST_TABLE, append([]byte(table), 0)),
		attribute(unix.NFTA_SET_ELEM_LIST_SET, append([]byte(setPorts), 0))...)
	port := attribute(unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED,
		attribute(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED,
			attribute(unix.NFTA_SET_ELEM_KEY|unix.NLA_F_NESTED,
				attribute(unix.NFTA_DATA_VALUE, []byte{0, dnsPort}))))
	const subsystem = unix.NFNL_SUBSYS_NFTABLES << 8
	var m []byte
	m = append(m, message(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)...)
	m = append(m, message(subsystem|unix.NFT_MSG_DELSETELEM, 0, unix.NFPROTO_IPV4, 0, set)...)
	m = append(m, message(subsystem|unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE|unix.NLM_F_ACK, unix.NFPROTO_IPV4, 0, append(set, port...))...)
	return append(m, message(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)...)
}

// message returns a message with the headers of netlink(7) and of nfnetlink
// (struct nfgenmsg in include/uapi/linux/netfilter/nfnetlink.h).
func message(kind, flags uint16, family byte, resource uint16, body []byte) []byte {
	size := unix.SizeofNlMsghdr + 4 + len(body)
	m := binary.NativeEndian.AppendUint32(nil, uint32(size)) //nolint:gosec // a few bytes
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|flags)
	m = append(m, make([]byte, 8)...) // no sequence, from nobody
	m = append(m, family, 0)
	m = binary.BigEndian.AppendUint16(m, resource)
	return pad(append(m, body...))
}

func attribute(kind uint16, value []byte) []byte {
	a := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value))) //nolint:gosec // a few bytes
	a = binary.NativeEndian.AppendUint16(a, kind)
	return pad(append(a, value...))
}

// pad fills up to the boundary that netlink wants, NLMSG_ALIGN and NLA_ALIGN.
func pad(b []byte) []byte {
	for len(b)%unix.NLA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}
