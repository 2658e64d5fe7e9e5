package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/ournet/ournet/test/bench/arrival"
	"github.com/ournet/ournet/test/bench/stats"
	"github.com/ournet/ournet/test/lab"
)

const (
	// warmUps are rounds that are not counted.
	warmUps = 2
	// firstArrival and lastArrival are the last numbers of addresses. Each container has
	// one of its own until they are used up, so that nobody remembers the one before.
	firstArrival, lastArrival = 100, 250

	reached  = "reached"
	resolved = "name resolves"
)

// measureArrivals starts containers, one at a time, while the network's resident asks for
// the address and the name.
func (b *bed) measureArrivals(ctx context.Context, rounds int) (*stats.Samples, error) {
	found := stats.NewSamples()
	if rounds == 0 {
		return found, nil
	}
	probe, err := b.lab.Probe(ctx)
	if err != nil {
		return nil, err
	}
	on := networks()
	for round := range warmUps + rounds {
		for i := range on {
			n := on[(i+round)%len(on)]
			seen, err := b.arrive(ctx, probe, n, round)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", n.name, err)
			}
			if round >= warmUps {
				found.Add(reached, n.name, seen.Reached)
				found.Add(resolved, n.name, seen.Resolved)
			}
		}
	}
	return found, nil
}

func (b *bed) arrive(ctx context.Context, probe string, n network, round int) (seen arrival.Seen, err error) {
	name := "bench-arrival-" + strconv.Itoa(round)
	address := n.subnet + strconv.Itoa(firstArrival+round%(lastArrival-firstArrival))
	namespace, err := b.namespace(ctx, n.resident())
	if err != nil {
		return seen, err
	}
	w, err := arrival.Begin(ctx, func(argv ...string) (*lab.Running, error) {
		return lab.StartInNamespace(ctx, namespace, argv...)
	}, probe, address, name)
	if err != nil {
		return seen, err
	}
	defer func() {
		_, removed := b.host.Docker(context.WithoutCancel(ctx), "rm", "-f", name)
		err = errors.Join(err, removed)
	}()
	_, err = b.host.Docker(ctx, append([]string{
		"run", "-d", "--name", name, "--network", n.name, "--ip", address,
		lab.BusyboxImage,
	}, arrival.Command()...)...)
	if err != nil {
		return seen, err
	}
	return w.End()
}
