package link

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// EntryEvent says that an entry was made, changed or removed, by us or by others.
type EntryEvent struct {
	// Entry is without the name of its device, which the kernel does not tell.
	Entry Entry
	// Index is that of the bridge or VXLAN device whose table it is.
	Index int
	// Removed says that it is gone.
	Removed bool
	// Resync says that events were lost: anything may have changed, and the other
	// fields are empty.
	Resync bool
}

// WatchEntries tells heard of entries that change, until ctx ends. heard is called
// from one goroutine and must not wait: of all that the neighbour tables of a host
// tell, most does not concern us, so it is not put in line for the reader as the
// events of [Handle.Watch] are.
func (h *Handle) WatchEntries(ctx context.Context, heard func(EntryEvent)) error {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_NEIGH)
	if err != nil {
		return fmt.Errorf("watch neighbours: %w", err)
	}
	stop := context.AfterFunc(ctx, s.Close)
	defer func() {
		if stop() {
			s.Close()
		}
	}()
	for {
		msgs, from, err := s.Receive()
		switch {
		case ctx.Err() != nil:
			return nil // the socket was closed to end this
		case errors.Is(err, unix.ENOBUFS):
			heard(EntryEvent{Resync: true})
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("watch neighbours: %w", err)
		case from.Pid == nl.PidKernel:
			for _, m := range msgs {
				if ev, ok := parseEntryEvent(m.Header.Type, m.Data); ok {
					heard(ev)
				}
			}
		}
	}
}

func parseEntryEvent(kind uint16, data []byte) (EntryEvent, bool) {
	if kind != unix.RTM_NEWNEIGH && kind != unix.RTM_DELNEIGH || len(data) < unix.SizeofNdMsg {
		return EntryEvent{}, false
	}
	n, err := netlink.NeighDeserialize(data)
	if err != nil {
		return EntryEvent{Resync: true}, true // something changed that we cannot name
	}
	ev := EntryEvent{Index: n.LinkIndex, Removed: kind == unix.RTM_DELNEIGH}
	if ev.Removed && n.Family != unix.AF_BRIDGE {
		n.State = netlink.NUD_PERMANENT // the kernel tells of one that is gone as failed
	}
	var ok bool
	ev.Entry, ok = entryFrom(*n)
	if ev.Entry.Kind == PortEntry {
		ev.Index = n.MasterIndex
	}
	return ev, ok
}
