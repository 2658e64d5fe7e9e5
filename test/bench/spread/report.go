package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ournet/ournet/test/bench/stats"
)

// Steps and variants of the samples.
const (
	onEach = "on each host"
	onAll  = "on the last of them"
	ours   = "ournet"
	bare   = "bare Consul"
)

// results is all that was measured, in milliseconds.
type results struct {
	Machine   stats.Machine `json:"machine"`
	LoadAtEnd string        `json:"load_at_end"`
	Hosts     int           `json:"hosts"`
	Endpoints int           `json:"endpoints"`
	Events    int           `json:"events"`
	// Times are by step and variant.
	Times *stats.Samples `json:"times"`
}

func newResults(o options) results {
	return results{Hosts: o.hosts, Endpoints: o.endpoints, Events: o.events, Times: stats.NewSamples()}
}

// add takes over the times of one event at each host.
func (r *results) add(names, watched []time.Duration) {
	for variant, times := range map[string][]time.Duration{ours: names, bare: watched} {
		for _, took := range times {
			r.Times.Add(onEach, variant, took)
		}
		r.Times.Add(onAll, variant, slices.Max(times))
	}
}

// markdown returns the results as a page for people.
func (r results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Measured: a name on %d hosts\n\nWritten by `make bench`; [bench.md](bench.md) says how to read it.\n\n", r.Hosts)
	fmt.Fprintf(&b, "%s, at the end %s. All hosts are simulated on this machine, and share its cores with Consul.\n\n", r.Machine, r.LoadAtEnd)
	fmt.Fprintf(&b, "%d names, each announced by one host of %d that have %d endpoints on the network. Milliseconds from the announcement until the name "+
		"resolves on the others, and from the write of one key of the same Consul until as many bare watchers have it: p50 / p99. "+
		"A ratio is ournet's to the watchers'.\n\n", r.Events, r.Hosts, r.Endpoints)
	fmt.Fprintf(&b, "| | values | %s | %s | ratio of p50 | ratio of p99 |\n|---|---|---|---|---|---|\n", bare, ours)
	for _, step := range []string{onEach, onAll} {
		us, them := r.Times.Values[step][ours], r.Times.Values[step][bare]
		ratio := func(p float64) float64 { return stats.Percentile(us, p) / stats.Percentile(them, p) }
		fmt.Fprintf(&b, "| %s | %d | %s | %s | **%.1f** | **%.1f** |\n", step, len(us), spread(them), spread(us), ratio(50), ratio(99))
	}
	return b.String()
}

func spread(times []float64) string {
	return fmt.Sprintf("%.1f / %.1f", stats.Percentile(times, 50), stats.Percentile(times, 99))
}
