package link

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Event says that a device changed.
type Event struct {
	// Name and Kind are those of the device, as in [Link].
	Name string
	Kind string
	// Deleted says that the device is gone, or went to another namespace.
	Deleted bool
	// Idle says that the device is down, or is no port of a bridge.
	Idle bool
	// Unaddressed says that a device lost an address, other than a link-local one;
	// the other fields are empty.
	Unaddressed bool
	// Addressed says that a device got an address, other than a link-local one, or has
	// it for longer; the other fields are empty.
	Addressed bool
	// Resync says that events were lost: anything may have changed, and the other
	// fields are empty.
	Resync bool
}

// eventBuffer is how many events may wait for a slow reader. More become one Resync.
const eventBuffer = 128

// Watch reports devices of the calling thread's namespace as they are made, changed
// and deleted. The reader should look at the kernel's state when told, and not take
// an event for the state.
//
// The channel is closed when ctx is done, or when the kernel ends the watch, which
// it does not do in practice.
func (h *Handle) Watch(ctx context.Context) (<-chan Event, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return nil, fmt.Errorf("watch devices: %w", err)
	}
	events := make(chan Event, eventBuffer)
	stop := context.AfterFunc(ctx, s.Close)
	go func() {
		defer close(events)
		defer func() {
			if stop() {
				s.Close()
			}
		}()
		receive(s, &outbox{to: events})
	}()
	return events, nil
}

// receive reads messages until the socket is closed.
func receive(s *nl.NetlinkSocket, out *outbox) {
	for {
		msgs, from, err := s.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			// The kernel dropped messages for want of space and goes on (netlink(7)).
			out.overflow()
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return
		case from.Pid == nl.PidKernel:
			for _, m := range msgs {
				header := unix.NlMsghdr(m.Header)
				if e, ok := parseEvent(&header, m.Data); ok {
					out.send(e)
				}
			}
		}
	}
}

func parseEvent(header *unix.NlMsghdr, data []byte) (Event, bool) {
	if header.Type == unix.RTM_DELADDR && len(data) >= unix.SizeofIfAddrmsg {
		return Event{Unaddressed: true}, data[3] != unix.RT_SCOPE_LINK // ifa_scope
	}
	if header.Type == unix.RTM_NEWADDR && len(data) >= unix.SizeofIfAddrmsg {
		return Event{Addressed: true}, data[3] != unix.RT_SCOPE_LINK // ifa_scope
	}
	if header.Type != unix.RTM_NEWLINK && header.Type != unix.RTM_DELLINK || len(data) < unix.SizeofIfInfomsg {
		return Event{}, false
	}
	// A bridge speaks of its ports with the same message types, where "deleted"
	// means that the port left.
	if data[0] == unix.AF_BRIDGE {
		return Event{}, false
	}
	l, err := netlink.LinkDeserialize(header, data)
	if err != nil {
		return Event{Resync: true}, true // something changed that we cannot name
	}
	a := l.Attrs()
	return Event{
		Name: a.Name, Kind: l.Type(), Deleted: header.Type == unix.RTM_DELLINK,
		Idle: a.RawFlags&unix.IFF_UP == 0 || a.MasterIndex == 0,
	}, true
}

// outbox hands events on without ever waiting, so that the kernel's buffer is
// always drained. Its last place is only for a Resync, which stands for all that
// comes until the reader has got to it.
type outbox struct {
	to chan<- Event
}

func (o *outbox) send(e Event) {
	if len(o.to) >= cap(o.to)-1 { // nobody else writes, so it does not grow meanwhile
		o.overflow()
		return
	}
	o.to <- e
}

func (o *outbox) overflow() {
	select {
	case o.to <- Event{Resync: true}:
	default: // full, so a Resync is the last in it
	}
}
