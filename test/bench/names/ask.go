package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ournet/ournet/test/bench/page"
	"github.com/ournet/ournet/test/bench/stats"
	"github.com/ournet/ournet/test/lab"
)

// sample is one measurement.
type sample struct {
	rate float64 // queries answered in a second, when dnsperf sends as fast as it can
	// cpu is what the server took for one of them, in microseconds, with what the kernel
	// did on its behalf.
	cpu float64
	// p50 and p99 of the time to an answer, in microseconds, at half of that rate.
	p50, p99 float64
}

// measureQueries asks each server in turn, each round beginning with another.
func (b *bed) measureQueries(ctx context.Context, set settings, r *results) (err error) {
	if set.rounds == 0 {
		return nil
	}
	g, err := b.gather()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.remove()) }()
	r.Queries = make(map[string][]float64)
	r.CPU, r.P50, r.P99 = make(map[string][]float64), make(map[string][]float64), make(map[string][]float64)
	file := b.host.Dir() + "/queries"
	var list strings.Builder
	for i := range names {
		fmt.Fprintf(&list, "%s A\n", nameOf(i))
	}
	if err := os.WriteFile(file, []byte(list.String()), 0o644); err != nil {
		return fmt.Errorf("write the queries: %w", err)
	}
	for round := range set.rounds {
		for i := range b.servers {
			s := b.servers[(i+round)%len(b.servers)]
			got, err := s.measure(ctx, set, file)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			page.Progress("round %d: %s: %.0f queries/s, %.2f µs of CPU each; p99 %.0f µs", round+1, s.name, got.rate, got.cpu, got.p99)
			r.Queries[s.name] = append(r.Queries[s.name], got.rate)
			r.CPU[s.name] = append(r.CPU[s.name], got.cpu)
			r.P50[s.name] = append(r.P50[s.name], got.p50)
			r.P99[s.name] = append(r.P99[s.name], got.p99)
		}
	}
	return nil
}

// gather puts the servers and this program, which starts those who ask, into one group.
func (b *bed) gather() (*group, error) {
	g, err := makeGroup("ournet-" + b.lab.Name + "-names")
	if err != nil {
		return nil, err
	}
	pids := []int{os.Getpid()}
	for _, s := range b.servers {
		pids = append(pids, s.pid)
	}
	for _, pid := range pids {
		if err := g.take(pid); err != nil {
			return nil, errors.Join(err, g.remove())
		}
	}
	return g, nil
}

func (s server) measure(ctx context.Context, set settings, file string) (sample, error) {
	before, err := cpu(s.pid)
	if err != nil {
		return sample{}, err
	}
	out, err := s.dnsperf(ctx, set, file)
	if err != nil {
		return sample{}, err
	}
	after, err := cpu(s.pid)
	if err != nil {
		return sample{}, err
	}
	count, err := said(out, "Queries completed")
	if err != nil {
		return sample{}, err
	}
	rate, err := said(out, "Queries per second")
	if err != nil {
		return sample{}, err
	}
	got := sample{rate: rate, cpu: float64((after - before).Microseconds()) / count}
	if out, err = s.dnsperf(ctx, set, file, "-v", "-Q", strconv.Itoa(int(rate/2))); err != nil {
		return sample{}, err
	}
	times, err := latencies(out)
	if err != nil {
		return sample{}, err
	}
	got.p50, got.p99 = stats.Median(times), stats.Percentile(times, 99)
	return got, nil
}

// dnsperf asks and returns what it says. That a query was not answered, or with an
// error, is an error.
func (s server) dnsperf(ctx context.Context, set settings, file string, args ...string) (out string, err error) {
	use, err := cores()
	if err != nil {
		return "", err
	}
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(use), " ", ","), "[]")
	// With -v it tells each query's time. Were that read from a pipe meanwhile, the reader
	// would take its part of the cores, the more the faster the server.
	heard, err := os.CreateTemp("/dev/shm", "ournet-bench-names-")
	if err != nil {
		return "", fmt.Errorf("make a file for what dnsperf says: %w", err)
	}
	defer func() { err = errors.Join(err, heard.Close(), os.Remove(heard.Name())) }()
	argv := append([]string{
		"sh", "-c", `exec "$@" >"$0"`, heard.Name(),
		"taskset", "--cpu-list", list, "dnsperf", "-s", resolver, "-d", file,
		"-c", strconv.Itoa(set.clients), "-l", strconv.FormatFloat(set.length.Seconds(), 'f', -1, 64),
	}, args...)
	if _, err := lab.InNamespace(ctx, s.namespace, argv...); err != nil {
		return "", err
	}
	text, err := io.ReadAll(heard)
	if err != nil {
		return "", fmt.Errorf("read what dnsperf says: %w", err)
	}
	return string(text), checkAnswered(string(text))
}

// allRight is in a report where no answer was an error, such as NXDOMAIN.
var allRight = regexp.MustCompile(`Response codes: +NOERROR \d+ \(100\.00%\)`)

func checkAnswered(out string) error {
	lost, err := said(out, "Queries lost")
	if err != nil {
		return err
	}
	if lost > 0 || !allRight.MatchString(out) {
		return fmt.Errorf("not every query was answered:\n%s", out[max(0, strings.LastIndex(out, "Statistics:")):])
	}
	return nil
}

// said returns a number of dnsperf's report.
func said(out, what string) (float64, error) {
	got := regexp.MustCompile(regexp.QuoteMeta(what) + `: +([0-9.]+)`).FindStringSubmatch(out)
	if got == nil {
		return 0, fmt.Errorf("dnsperf does not say %q:\n%s", what, out)
	}
	return strconv.ParseFloat(got[1], 64)
}

// latencies returns the times of all answers, in microseconds, from lines as
//
//	> NOERROR host1 A 0.000123
func latencies(out string) ([]float64, error) {
	var all []float64
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != ">" {
			continue
		}
		seconds, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return nil, fmt.Errorf("read %q: %w", line, err)
		}
		all = append(all, seconds*float64(time.Second/time.Microsecond))
	}
	if len(all) == 0 {
		return nil, errors.New("dnsperf tells no query's time")
	}
	return all, nil
}
