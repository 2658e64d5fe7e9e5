package link_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/link"
)

// next returns the first event that match takes, or fails the test after a while.
func next(t *testing.T, events <-chan link.Event, match func(link.Event) bool) link.Event {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatal("the watch ended")
			}
			if match(e) {
				return e
			}
		case <-deadline:
			t.Fatal("no such event")
		}
	}
}

func TestWatch_tellsOfDevicesMadeAndDeleted(t *testing.T) {
	t.Parallel()
	_, h := enter(t)
	ctx, cancel := context.WithCancel(t.Context())
	events, err := h.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.EnsureBridge(link.Bridge{Name: "on-1", Alias: alias}); err != nil {
		t.Fatal(err)
	}
	next(t, events, func(e link.Event) bool { return e == link.Event{Name: "on-1", Kind: "bridge", Idle: true} })
	if err := h.Delete("on-1"); err != nil {
		t.Fatal(err)
	}
	next(t, events, func(e link.Event) bool {
		return e == link.Event{Name: "on-1", Kind: "bridge", Idle: true, Deleted: true}
	})
	cancel()
	for range events { // ends only when the channel is closed
	}
}

func TestWatch_portThatLeavesItsBridgeIsNotDeleted(t *testing.T) {
	t.Parallel()
	ns, h := bridged(t)
	events, err := h.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ensureVeth(t, h, wantVeth())
	ns.Exec(t, "ip", "link", "set", "onv1", "nomaster")
	next(t, events, func(e link.Event) bool { return e == link.Event{Name: "onv1", Kind: "veth", Idle: true} })
	ns.Exec(t, "ip", "link", "set", "lo", "alias", "last")
	var deleted []link.Event
	next(t, events, func(e link.Event) bool {
		if e.Deleted {
			deleted = append(deleted, e)
		}
		return e.Name == "lo"
	})
	if len(deleted) > 0 {
		t.Errorf("deleted: %v", deleted)
	}
}

func TestWatch_tellsOfAnAddressThatComesAndGoes(t *testing.T) {
	t.Parallel()
	ns, h := bridged(t)
	events, err := h.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ns.Exec(t, "ip", "address", "add", "10.9.0.1/24", "dev", "on-1")
	next(t, events, func(e link.Event) bool { return e == link.Event{Addressed: true} })
	ns.Exec(t, "ip", "address", "delete", "10.9.0.1/24", "dev", "on-1")
	next(t, events, func(e link.Event) bool { return e == link.Event{Unaddressed: true} })
}

// A reader that sleeps must get to know that it missed something.
func TestWatch_slowReaderGetsAResync(t *testing.T) {
	t.Parallel()
	_, h := enter(t)
	ctx, cancel := context.WithCancel(t.Context())
	events, err := h.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	other, err := h.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const n = 500
	for i := range n {
		if err := h.SetAlias("lo", strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
		next(t, other, func(e link.Event) bool { return e.Name == "lo" })
	}
	// The first watch read at least as many messages as fill it before it is stopped.
	next(t, events, func(e link.Event) bool { return e.Resync })
	cancel()
	for range events { // ends only when the channel is closed
	}
}
