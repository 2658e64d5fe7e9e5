package main

import (
	"github.com/ournet/ournet/test/bench/stats"
)

// results is all that was measured.
type results struct {
	Machine stats.Machine   `json:"machine"`
	Rounds  int             `json:"rounds"`
	Engines []engineResults `json:"engines"`
	Tunnels tunnels         `json:"tunnels"`
	Scale   []scale         `json:"scale"`
}

// engineResults is all that was measured with one engine.
type engineResults struct {
	Engine     string            `json:"engine"`
	Version    string            `json:"version"`
	API        string            `json:"api"`
	Components map[string]string `json:"components"`
	Latency    []latency         `json:"latency"`
	Attach     attachCost        `json:"attach"`
	// Callbacks are those of all commands in Attach and Latency.
	Callbacks  []callback `json:"callbacks"`
	Memory     []memory   `json:"memory"`
	Throughput throughput `json:"throughput"`
}

// latency is one command on all networks.
type latency struct {
	Step     string             `json:"step"`
	Variants map[string]summary `json:"variants"`
}

// summary says how long a command took, in milliseconds.
type summary struct {
	Median float64 `json:"median_ms"`
	P90    float64 `json:"p90_ms"`
	P99    float64 `json:"p99_ms"`
	// Ratio compares with the first variant; nil for that itself.
	Ratio *stats.Interval `json:"ratio,omitempty"`
	// Values are the single measurements, in their order.
	Values []float64 `json:"values_ms"`
}

func summarize(s *stats.Samples) []latency {
	base := variants()[0].name
	var all []latency
	for _, step := range s.Steps {
		l := latency{Step: step, Variants: make(map[string]summary)}
		for variant, values := range s.Values[step] {
			sum := summary{Median: stats.Median(values), P90: stats.Percentile(values, 90), P99: stats.Percentile(values, 99), Values: values}
			if variant != base {
				r := stats.Compare(values, s.Values[step][base])
				sum.Ratio = &r
			}
			l.Variants[variant] = sum
		}
		all = append(all, l)
	}
	return all
}
