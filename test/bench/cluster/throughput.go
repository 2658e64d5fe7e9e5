package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/ournet/ournet/test/lab"
)

// throughput is TCP from a container of the first host to one of the second, in Gbit/s,
// by variant.
type throughput map[string][]float64

// measureThroughput sends one stream at a time. iperf3 is the machine's own, run in the
// residents' network namespaces, so that no image needs its libraries.
func (b *bed) measureThroughput(ctx context.Context, rounds, seconds int) (t throughput, err error) {
	t = throughput{}
	if rounds == 0 {
		return t, nil
	}
	on := overlays()
	for _, m := range hands() {
		if err := m.make(ctx, b); err != nil {
			return nil, err
		}
		on = append(on, m.variant)
	}
	for _, v := range on {
		stop, err := b.serve(ctx, v)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	dice := rand.New(rand.NewPCG(1, 2))
	for round := range 1 + rounds { // the first is to warm up
		for _, i := range dice.Perm(len(on)) {
			gbit, err := b.stream(ctx, on[i], seconds)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", on[i].name, err)
			}
			if round > 0 {
				t[on[i].name] = append(t[on[i].name], gbit)
			}
		}
	}
	return t, nil
}

func (b *bed) serve(ctx context.Context, v variant) (stop func() error, err error) {
	h := b.lab.Host(2)
	argv, err := inside(ctx, h, v.resident(), "iperf3", "--server")
	if err != nil {
		return nil, err
	}
	server, err := h.Start(ctx, argv...)
	if err != nil {
		return nil, err
	}
	return func() error {
		// It tells of the signal that it is asked to end with as of an error.
		if out, err := server.Stop(); err != nil && !strings.Contains(out, "terminated") {
			return err
		}
		return nil
	}, nil
}

// stream returns what the receiver got, in Gbit/s.
func (b *bed) stream(ctx context.Context, v variant, seconds int) (float64, error) {
	to, err := b.addressOf(ctx, v)
	if err != nil {
		return 0, err
	}
	h := b.lab.Host(1)
	argv, err := inside(ctx, h, v.resident(), "iperf3", "--client", to, "--time", strconv.Itoa(seconds), "--json")
	if err != nil {
		return 0, err
	}
	var out string
	err = lab.Poll(ctx, "a stream on "+v.network, func() (err error) {
		out, err = h.Exec(ctx, argv...) // the server may not listen yet
		return err
	})
	if err != nil {
		return 0, err
	}
	var report struct {
		End struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return 0, fmt.Errorf("read iperf3's report: %w", err)
	}
	return report.End.Received.BitsPerSecond / 1e9, nil
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
