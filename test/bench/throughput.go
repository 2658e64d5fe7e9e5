package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/ournet/ournet/test/bench/iperf"
	"github.com/ournet/ournet/test/lab"
)

// streamSeconds is how long each stream lasts.
const streamSeconds = 2

// throughput is TCP from one container to another, in Gbit/s, by variant.
type throughput struct {
	Values map[string][]float64 `json:"gbit_per_s"`
}

// measureThroughput sends one TCP stream at a time between two containers on the
// same network. iperf3 is the machine's own, run in the containers' network
// namespaces, so that no image needs its libraries.
func measureThroughput(ctx context.Context, b *bed, rounds int) (t throughput, err error) {
	pairs := slices.Concat(made()[:2], []variant{unchecked()})
	remove, err := b.makeNetworks(ctx, pairs)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	t.Values = make(map[string][]float64)
	for _, v := range pairs {
		for _, end := range []string{"from", "to"} {
			dismiss, err := b.start(ctx, v.network+"-"+end, "--network", v.network)
			if err != nil {
				return t, err
			}
			defer func() { err = errors.Join(dismiss(), err) }()
		}
		stop, err := b.serve(ctx, v.network+"-to")
		if err != nil {
			return t, err
		}
		defer func() { err = errors.Join(stop(), err) }()
	}
	dice := rand.New(rand.NewPCG(5, 6))
	for range rounds {
		for _, i := range dice.Perm(len(pairs)) {
			v := pairs[i]
			got, err := b.stream(ctx, v)
			if err != nil {
				return t, err
			}
			t.Values[v.name] = append(t.Values[v.name], got.Gbit)
		}
	}
	return t, nil
}

// inside returns a command that runs in a container's network namespace.
func (b *bed) inside(ctx context.Context, container string, argv ...string) ([]string, error) {
	pid, err := b.host.Docker(ctx, "container", "inspect", "-f", "{{.State.Pid}}", container)
	if err != nil {
		return nil, err
	}
	return append([]string{"nsenter", "--target", strings.TrimSpace(pid), "--net", "--"}, argv...), nil
}

func (b *bed) serve(ctx context.Context, container string) (stop func() error, err error) {
	return iperf.Serve(func(argv ...string) (*lab.Running, error) {
		argv, err := b.inside(ctx, container, argv...)
		if err != nil {
			return nil, err
		}
		return b.host.Start(ctx, argv...)
	})
}

// stream sends one stream from container to container of a network.
func (b *bed) stream(ctx context.Context, v variant) (iperf.Stream, error) {
	to, err := b.address(ctx, v.network+"-to", v.network)
	if err != nil {
		return iperf.Stream{}, err
	}
	return iperf.Send(ctx, v.network, to, streamSeconds, func(argv ...string) (string, error) {
		argv, err := b.inside(ctx, v.network+"-from", argv...)
		if err != nil {
			return "", err
		}
		return b.host.Exec(ctx, argv...)
	})
}
