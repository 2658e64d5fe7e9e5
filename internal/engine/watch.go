package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// Kind says what an [Event] is about.
type Kind int

// The kinds of [Event].
const (
	// Resync says that events may have been missed; it is the first event of
	// every connection to the engine.
	Resync Kind = iota
	// NetworkCreated and NetworkDestroyed come after the fact.
	NetworkCreated
	NetworkDestroyed
	// Connected comes when a container's endpoint is complete, which may be
	// before its process runs; Disconnected when it is gone.
	Connected
	Disconnected
	// Renamed comes when a container of whatever networks has another name.
	Renamed
)

// Event is a change of the engine's networks that are not of a built-in driver, or of
// a container's name.
type Event struct {
	Kind Kind
	// Network is the network's id, "" where none is concerned.
	Network string
	// Container is the container's id where one is concerned.
	Container string
}

// Watch calls heard for every [Event], one after the other, until ctx ends, which
// is no error. It begins with a Resync as soon as the engine answers, and again
// whenever the connection was lost. heard must not block for long.
func (c *Client) Watch(ctx context.Context, heard func(Event)) error {
	failures := 0
	for {
		err := c.listen(ctx, func(ev Event) {
			failures = 0
			heard(ev)
		})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end that was asked for
		}
		log := c.log.WithError(err)
		if failures == 0 {
			log.Warn("not hearing from the engine")
		} else {
			log.WithField("attempts", failures).Debug("still not hearing from the engine")
		}
		if !c.retry.Wait(ctx, failures) {
			return nil
		}
		failures++
	}
}

// listen hands on the events of one connection until it breaks.
func (c *Client) listen(ctx context.Context, heard func(Event)) (err error) {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	// Ends the stream's goroutine in every case.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	now := time.Now()
	stream := s.api.Events(ctx, client.EventsListOptions{
		// The engine begins its answer a moment before it collects events.
		Since: fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond()),
		Filters: make(client.Filters).
			Add("type", string(events.NetworkEventType), string(events.ContainerEventType)).
			Add("event", string(events.ActionCreate), string(events.ActionDestroy),
				string(events.ActionConnect), string(events.ActionDisconnect), string(events.ActionRename)),
	})
	select {
	case err := <-stream.Err:
		return fmt.Errorf("ask the engine for its events: %w", err)
	default:
	}
	heard(Event{Kind: Resync})
	for {
		select {
		case m := <-stream.Messages:
			if ev, ok := parseEvent(m); ok {
				heard(ev)
			}
		case err := <-stream.Err:
			return fmt.Errorf("the engine's events ended: %w", err)
		}
	}
}

// parseEvent drops what is neither about a network of a remote driver nor about a
// container's name.
func parseEvent(m events.Message) (Event, bool) {
	if m.Type == events.ContainerEventType && m.Action == events.ActionRename {
		return Event{Kind: Renamed, Container: m.Actor.ID}, true
	}
	if m.Type != events.NetworkEventType || builtin(m.Actor.Attributes["type"]) {
		return Event{}, false
	}
	ev := Event{Network: m.Actor.ID, Container: m.Actor.Attributes["container"]}
	switch m.Action { //nolint:exhaustive // the engine has fifty more, none of them asked for
	case events.ActionCreate:
		ev.Kind = NetworkCreated
	case events.ActionDestroy:
		ev.Kind = NetworkDestroyed
	case events.ActionConnect:
		ev.Kind = Connected
	case events.ActionDisconnect:
		ev.Kind = Disconnected
	default:
		return Event{}, false
	}
	return ev, true
}
