package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Host is a machine with an engine.
type Host struct {
	*Machine
	// Engine is what the host runs.
	Engine Engine

	bin   string     // the folder of the engine's programs
	power sync.Mutex // one change of the host's or the engine's state at a time
}

// boot powers the host on and starts its engine.
func (h *Host) boot(ctx context.Context) error {
	h.power.Lock()
	defer h.power.Unlock()
	if err := h.powerOn(ctx); err != nil {
		return err
	}
	return h.startEngine(ctx)
}

// Crash cuts the host's power: engine, containers and plugin end at once, and links,
// rules and connections of the kernel are gone. What was written to files stays.
func (h *Host) Crash(ctx context.Context) error {
	h.power.Lock()
	defer h.power.Unlock()
	if err := h.powerOff(ctx); err != nil {
		return err
	}
	return h.unplug(ctx)
}

// Boot starts a crashed host and its engine, with the files it had.
func (h *Host) Boot(ctx context.Context) error { return h.boot(ctx) }

// Wipe removes the files of a crashed host: its next boot is a new machine's.
func (h *Host) Wipe() error {
	for _, folder := range []string{"lib", "opt", "etc", "etc.work", "local", "local.work"} {
		if err := os.RemoveAll(filepath.Join(h.Dir(), folder)); err != nil {
			return fmt.Errorf("wipe %s: %w", h.Name, err)
		}
	}
	return nil
}

// unplug removes the cable of a host that is off. The kernel does it as well, but
// later than the next boot might be.
func (h *Host) unplug(ctx context.Context) error {
	outside, err := h.lab.Outside.first()
	if err != nil {
		return err
	}
	_, deleted := h.lab.Outside.inNet(ctx, "ip", "link", "delete", h.cable())
	return Poll(ctx, "the cable of "+h.Name+" to go", func() error {
		links, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", outside.PID))
		if err != nil {
			return fmt.Errorf("list the outside's links: %w", err)
		}
		if strings.Contains(string(links), " "+h.cable()+":") {
			return fmt.Errorf("it is still there: %w", deleted)
		}
		return nil
	})
}
