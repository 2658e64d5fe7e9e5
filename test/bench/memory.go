package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// memory is what the plugin's process has in the machine's memory, in MB of 10^6
// bytes.
type memory struct {
	When string `json:"when"`
	// RSS is all of it, Anon what is not backed by a file, so the part that only
	// this process has: the rest is the program itself.
	RSS  float64 `json:"rss_mb"`
	Anon float64 `json:"anon_mb"`
}

// memory reads the memory of the plugin's process now.
func (b *bed) memory(ctx context.Context, when string) (memory, error) {
	pid, err := b.host.PluginPID(ctx, pluginName)
	if err != nil {
		return memory{}, err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, fmt.Errorf("read the plugin's memory: %w", err)
	}
	m := memory{When: when}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(fields[1], 64) // 0 for lines of other forms
		switch fields[0] {
		case "VmRSS:":
			m.RSS = kib * 1024 / 1e6
		case "RssAnon:":
			m.Anon = kib * 1024 / 1e6
		}
	}
	if m.RSS == 0 {
		return memory{}, errors.New("read the plugin's memory: its status has no VmRSS")
	}
	return m, nil
}

// guests is how many containers share the endpoints of measureMemory.
const guests = 10

// measureMemory reads the memory of a plugin that was just started, with no network
// and with that many endpoints.
func measureMemory(ctx context.Context, b *bed, endpoints int) (all []memory, err error) {
	if err := b.restartPlugin(ctx); err != nil {
		return nil, err
	}
	note := func(when string) error {
		m, err := b.memory(ctx, when)
		all = append(all, m)
		return err
	}
	if err := note("just started, nothing to do"); err != nil || endpoints == 0 {
		return all, err
	}
	networks := (endpoints + guests - 1) / guests
	remove, err := b.attachMany(ctx, networks, endpoints)
	defer func() { err = errors.Join(err, remove()) }()
	if err != nil {
		return all, err
	}
	err = note(fmt.Sprintf("%d endpoints on %d networks", endpoints, networks))
	return all, err
}

// attachMany connects a few containers to many networks. What remove removes is all
// that was made, also after an error: one after the other, because Engine 20.10 loses
// count of its endpoints when several containers go at once, and then keeps the network.
func (b *bed) attachMany(ctx context.Context, networks, endpoints int) (remove func() error, err error) {
	var undo [][]string
	remove = func() error {
		var errs []error
		for _, args := range slices.Backward(undo) {
			errs = append(errs, b.docker(context.WithoutCancel(ctx), args...))
		}
		return errors.Join(errs...)
	}
	for i := range networks {
		name := fmt.Sprintf("bench-many%d", i)
		if err := b.docker(ctx, "network", "create", "-d", "ournet", "--ipam-driver", "ournet", name); err != nil {
			return remove, err
		}
		undo = append(undo, []string{"network", "rm", name})
	}
	for i := range endpoints {
		container := fmt.Sprintf("bench-guest%d", i%guests)
		if i < guests {
			if _, err := b.start(ctx, container); err != nil {
				return remove, err
			}
			undo = append(undo, []string{"rm", "-f", container})
		}
		if err := b.docker(ctx, "network", "connect", fmt.Sprintf("bench-many%d", i/guests), container); err != nil {
			return remove, err
		}
	}
	return remove, nil
}
