package overlay

import (
	"context"

	"github.com/ournet/ournet/internal/link"
)

// Watch tells heard when somebody else changes the tables of an overlay network, until
// ctx ends. It is a reason to reconcile.
func (d *Driver) Watch(ctx context.Context, heard func(cause string)) error {
	return d.dev.WatchEntries(ctx, func(ev link.EntryEvent) {
		switch {
		case ev.Resync:
			heard("more changes of neighbours than could be told of")
		case d.disturbing(ev):
			heard("a neighbour or forwarding entry was changed")
		}
	})
}

// disturbing reports whether an event leaves a table other than it was put. The
// kernel also tells of what we do; that is in the table before the kernel is told.
func (d *Driver) disturbing(ev link.EntryEvent) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.tables {
		if ev.Index != t.bridge && ev.Index != t.tunnel || t.applied == nil {
			continue
		}
		want, wanted := t.applied[keyOf(ev.Entry)]
		if ev.Removed || !wanted {
			return ev.Removed == wanted
		}
		// The port of a bridge's entry is not told by its name.
		return ev.Entry.MAC != want.MAC || ev.Entry.Addr != want.Addr
	}
	return false
}
