package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/ournet/ournet/test/bench/iperf"
	"github.com/ournet/ournet/test/lab"
)

// throughput is TCP from a container of the first host to one of the second, by variant.
type throughput struct {
	Gbit map[string][]float64 `json:"gbit_per_s"`
	CPU  map[string][]float64 `json:"cpu_ms_per_gbit"`
}

// measureThroughput sends one stream at a time. iperf3 is the machine's own, run in the
// residents' network namespaces, so that no image needs its libraries.
func (b *bed) measureThroughput(ctx context.Context, rounds, seconds int) (t throughput, err error) {
	t.Gbit, t.CPU = map[string][]float64{}, map[string][]float64{}
	if rounds == 0 {
		return t, nil
	}
	on := overlays()
	for _, m := range hands() {
		if err := m.make(ctx, b); err != nil {
			return t, err
		}
		on = append(on, m.variant)
	}
	for _, v := range on {
		stop, err := b.serve(ctx, v)
		if err != nil {
			return t, err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	dice := rand.New(rand.NewPCG(1, 2))
	for round := range 1 + rounds { // the first is to warm up
		for _, i := range dice.Perm(len(on)) {
			name := on[i].name
			got, err := b.stream(ctx, on[i], seconds)
			if err != nil {
				return t, fmt.Errorf("%s: %w", name, err)
			}
			if round > 0 {
				t.Gbit[name], t.CPU[name] = append(t.Gbit[name], got.Gbit), append(t.CPU[name], got.CPU*1000)
			}
		}
	}
	return t, nil
}

func (b *bed) serve(ctx context.Context, v variant) (stop func() error, err error) {
	return iperf.Serve(func(argv ...string) (*lab.Running, error) {
		h := b.lab.Host(2)
		argv, err := inside(ctx, h, v.resident(), argv...)
		if err != nil {
			return nil, err
		}
		return h.Start(ctx, argv...)
	})
}

func (b *bed) stream(ctx context.Context, v variant, seconds int) (iperf.Stream, error) {
	to, err := b.addressOf(ctx, v)
	if err != nil {
		return iperf.Stream{}, err
	}
	return iperf.Send(ctx, v.network, to, seconds, func(argv ...string) (string, error) {
		h := b.lab.Host(1)
		argv, err := inside(ctx, h, v.resident(), argv...)
		if err != nil {
			return "", err
		}
		return h.Exec(ctx, argv...)
	})
}

// addressOf returns the address of the second host's resident.
func (b *bed) addressOf(ctx context.Context, v variant) (string, error) {
	if v.create == nil {
		return v.address + "2", nil
	}
	format := fmt.Sprintf("{{(index .NetworkSettings.Networks %q).IPAddress}}", v.network)
	out, err := b.lab.Host(2).Docker(ctx, "container", "inspect", "-f", format, v.resident())
	return strings.TrimSpace(out), err
}
