package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// sample is one measurement.
type sample struct {
	qps float64
	// cpu is what the server took for a query, in microseconds. On a machine that
	// does other things beside, it says more than the queries a second.
	cpu float64
}

// ask starts a server, asks it as fast as it answers, and ends it.
func ask(ctx context.Context, o options, server string) (sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := self(ctx, "-role", server)
	cmd.Stdout = nil
	ready, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return sample{}, err
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return sample{}, err
	}
	_, err = ready.Read(make([]byte, 1))
	var count, qps float64
	if err == nil {
		count, qps, err = dnsperf(ctx, o)
	}
	cancel()
	_ = cmd.Wait() // it was told to end
	if err != nil {
		return sample{}, err
	}
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return sample{qps: qps, cpu: float64(used.Microseconds()) / count}, nil
}

// dnsperf returns how many queries were answered, in all and in a second.
func dnsperf(ctx context.Context, o options) (count, qps float64, err error) {
	queries, err := os.CreateTemp("", "queries")
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = os.Remove(queries.Name()) }() // in the temporary folder
	var list strings.Builder
	for i := range hosts {
		fmt.Fprintf(&list, "%s A\n", hostName(i))
	}
	_, err = queries.WriteString(list.String())
	if err := errors.Join(err, queries.Close()); err != nil {
		return 0, 0, err
	}
	out, err := exec.CommandContext(ctx, o.dnsperf, "-s", "127.0.0.11", "-d", queries.Name(),
		"-c", strconv.Itoa(o.clients), "-l", strconv.FormatFloat(o.length.Seconds(), 'f', -1, 64)).CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w\n%s", o.dnsperf, err, out)
	}
	var lost float64
	for name, to := range map[string]*float64{"Queries completed": &count, "Queries per second": &qps, "Queries lost": &lost} {
		got := regexp.MustCompile(name + `: +([0-9.]+)`).FindSubmatch(out)
		if got == nil {
			return 0, 0, fmt.Errorf("dnsperf does not say %q\n%s", name, out)
		}
		if *to, err = strconv.ParseFloat(string(got[1]), 64); err != nil {
			return 0, 0, err
		}
	}
	if lost > 0 || count == 0 {
		return 0, 0, fmt.Errorf("queries were lost\n%s", out)
	}
	return count, qps, nil
}
