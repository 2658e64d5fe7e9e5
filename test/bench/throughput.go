package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/ournet/ournet/test/lab"
)

// streamSeconds is how long each stream lasts.
const streamSeconds = "2"

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
			t.Values[v.name] = append(t.Values[v.name], got.gbit)
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
	argv, err := b.inside(ctx, container, "iperf3", "--server")
	if err != nil {
		return nil, err
	}
	server, err := b.host.Start(ctx, argv...)
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

// streamed is what became of a stream.
type streamed struct {
	// gbit is what the receiver got, in Gbit/s.
	gbit float64
	// cpu is what both ends used of the processor for it, with the kernel's part: the
	// seconds for each Gbit. Whatever else the machine does changes it less.
	cpu float64
}

// stream sends one stream from container to container of a network.
func (b *bed) stream(ctx context.Context, v variant) (streamed, error) {
	to, err := b.address(ctx, v.network+"-to", v.network)
	if err != nil {
		return streamed{}, err
	}
	return stream(ctx, v.network, to, func(argv ...string) (string, error) {
		argv, err := b.inside(ctx, v.network+"-from", argv...)
		if err != nil {
			return "", err
		}
		return b.host.Exec(ctx, argv...)
	})
}

// iperfReport is what iperf3 says with --json, as far as it matters here.
type iperfReport struct {
	Error string
	End   struct {
		Received struct {
			BitsPerSecond float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		CPU struct { // in percent
			Sender   float64 `json:"host_total"`
			Receiver float64 `json:"remote_total"`
		} `json:"cpu_utilization_percent"`
	}
}

// stream sends to an address from where run runs programs.
func stream(ctx context.Context, what, to string, run func(argv ...string) (string, error)) (streamed, error) {
	var report iperfReport
	err := lab.Poll(ctx, "a stream on "+what, func() error {
		out, err := run("iperf3", "--client", to, "--time", streamSeconds, "--json")
		if err != nil {
			return err
		}
		report = iperfReport{} // without what the time before left there
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			return fmt.Errorf("read iperf3's report: %w", err)
		}
		if report.Error != "" { // the server may not listen yet
			return errors.New(report.Error)
		}
		return nil
	})
	if err != nil {
		return streamed{}, err
	}
	got := streamed{gbit: report.End.Received.BitsPerSecond / 1e9}
	got.cpu = (report.End.CPU.Sender + report.End.CPU.Receiver) / 100 / got.gbit
	return got, nil
}
