package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/ournet/ournet/test/bench/arrival"
	"github.com/ournet/ournet/test/bench/stats"
	"github.com/ournet/ournet/test/lab"
)

const (
	// arrivalHost is where containers are started that the others wait for: a worker of
	// Swarm's, so that among the others are its manager and another worker.
	arrivalHost = 2
	// firstArrival is the last number of the first one's address. Each has an address of
	// its own until they are used up, so that nobody remembers the one before.
	firstArrival, lastArrival = 100, 250
)

// The steps of an arrival.
const (
	reached  = "reached"
	resolved = "name resolves"
)

// measureArrivals starts containers on one host, one at a time, while the residents of
// the others ask for its address and its name every millisecond. There is a value for
// each of the others.
func (b *bed) measureArrivals(ctx context.Context, rounds int) (*stats.Samples, error) {
	found := stats.NewSamples()
	if rounds == 0 {
		return found, nil
	}
	probe, err := b.lab.Probe(ctx)
	if err != nil {
		return nil, err
	}
	dice := rand.New(rand.NewPCG(5, 6))
	on := overlays()
	for round := range warmUps + rounds {
		for _, i := range dice.Perm(len(on)) {
			all, err := b.arrive(ctx, probe, on[i], round)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", on[i].name, err)
			}
			if round < warmUps {
				continue
			}
			for _, a := range all {
				found.Add(reached, on[i].name, a.Reached)
				found.Add(resolved, on[i].name, a.Resolved)
			}
		}
	}
	return found, nil
}

// arrive starts one container and returns what the other hosts saw of it.
func (b *bed) arrive(ctx context.Context, probe string, v variant, round int) (all []arrival.Seen, err error) {
	name := "bench-arrival-" + strconv.Itoa(round)
	address := v.address + strconv.Itoa(firstArrival+round%(lastArrival-firstArrival))
	var waiting []arrival.Wait
	for i, h := range b.lab.Hosts {
		if i == arrivalHost-1 {
			continue
		}
		w, err := arrival.Begin(ctx, func(argv ...string) (*lab.Running, error) {
			argv, err := inside(ctx, h, v.resident(), argv...)
			if err != nil {
				return nil, err
			}
			return h.Start(ctx, argv...)
		}, probe, address, name)
		if err != nil {
			return nil, err
		}
		waiting = append(waiting, w)
	}
	h := b.lab.Host(arrivalHost)
	defer func() {
		_, removed := h.Docker(context.WithoutCancel(ctx), "rm", "-f", name)
		err = errors.Join(err, removed)
	}()
	_, err = h.Docker(ctx, append([]string{
		"run", "-d", "--name", name, "--network", v.network, "--ip", address,
		lab.BusyboxImage,
	}, arrival.Command()...)...)
	if err != nil {
		return nil, err
	}
	for _, w := range waiting {
		a, err := w.End()
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}
