package link

import (
	"errors"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// attempts bounds the tries of a dump. Each fails only if a device changed within
// the few hundred microseconds that it took.
const attempts = 10

// retry repeats a question that was interrupted: by a signal, or by a change of
// what is being listed, after which the answer may miss entries (NLM_F_DUMP_INTR).
func retry[T any](ask func() (T, error)) (T, error) {
	var (
		answer T
		err    error
	)
	for range attempts {
		answer, err = ask()
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return answer, err
}

// ifInfo lets the kernel's own struct be part of a request.
type ifInfo struct{ *nl.IfInfomsg }

// request makes a message about one device.
func (h *Handle) request(kind, flags int, msg *unix.IfInfomsg, attrs ...*nl.RtAttr) *nl.NetlinkRequest {
	req := &nl.NetlinkRequest{
		NlMsghdr: unix.NlMsghdr{
			Len: unix.SizeofNlMsghdr, Type: uint16(kind), //nolint:gosec // message types are small constants
			Flags: uint16(unix.NLM_F_REQUEST | unix.NLM_F_ACK | flags), //nolint:gosec // 16 bit by definition
		},
		Sockets: h.sockets,
	}
	req.AddData(ifInfo{&nl.IfInfomsg{IfInfomsg: *msg}})
	for _, a := range attrs {
		req.AddData(a)
	}
	return req
}

// execute sends a request and waits for its acknowledgement.
func execute(req *nl.NetlinkRequest) error {
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
