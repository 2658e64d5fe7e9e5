// Package arrival measures how long after its first instruction a container is there
// for others: that it is reached, and that its name resolves. It knows nothing of
// networks; its caller says who waits, and starts the container.
package arrival

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/ournet/ournet/test/lab"
)

// Port is where a container that is waited for answers.
const Port = "7000"

// Command is what such a container runs.
func Command() []string { return []string{"probe", "arrive", ":" + Port} }

// Seen is what one who waits saw, counted from the container's first instruction. The
// engine connects a container before it starts it, so a time may be below 0.
type Seen struct{ Reached, Resolved time.Duration }

// Wait is one who waits.
type Wait struct{ running *lab.Running }

// Begin asks for the address and the name of a container that has not been started,
// again and again. start runs a program where somebody shall wait, in the background.
func Begin(ctx context.Context, start func(argv ...string) (*lab.Running, error), probe, address, name string) (Wait, error) {
	r, err := start(probe, "await", address+":"+Port, name)
	if err != nil {
		return Wait{}, err
	}
	return Wait{r}, printed(ctx, r, "waiting")
}

// End returns what was seen when all of it was.
func (w Wait) End() (Seen, error) {
	out, err := w.running.Wait()
	if err != nil {
		return Seen{}, err
	}
	var got struct {
		Reached  int64 `json:"reached_us"`
		Resolved int64 `json:"resolved_us"`
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(out, "waiting\n")), &got); err != nil {
		return Seen{}, fmt.Errorf("read %q: %w", out, err)
	}
	return Seen{time.Duration(got.Reached) * time.Microsecond, time.Duration(got.Resolved) * time.Microsecond}, nil
}

// ServeNames answers outside of a lab what no engine knows: that it does not exist.
// Otherwise the queries for names to come would wait for nobody.
func ServeNames(ctx context.Context, l *lab.Lab) error {
	probe, err := l.Probe(ctx)
	if err != nil {
		return err
	}
	server, err := l.Outside.Start(ctx, probe, "serve", "-dns", ":53", "-name", "outside.example")
	if err != nil {
		return err
	}
	return printed(ctx, server, "ready")
}

// printed waits until a command has printed that.
func printed(ctx context.Context, r *lab.Running, line string) error {
	return lab.Poll(ctx, fmt.Sprintf("%q", line), func() error {
		if out := r.Output(); !strings.Contains(out, line) {
			return fmt.Errorf("it printed %q", out)
		}
		return nil
	})
}
