package main

import (
	"fmt"
	"strings"

	"github.com/ournet/ournet/test/bench/stats"
)

// results is all that was measured.
type results struct {
	Machine   stats.Machine `json:"machine"`
	LoadAtEnd string        `json:"load_at_end"`
	Engine    string        `json:"engine"`
	Hosts     int           `json:"hosts"`
	Seconds   int           `json:"seconds_of_a_stream"`
	// Filtered says whether br_netfilter sends what hosts bridge through their packet
	// filter.
	Filtered   bool       `json:"br_netfilter"`
	Throughput throughput `json:"throughput"`
	// Attach and Arrival are in milliseconds.
	Attach  *stats.Samples `json:"attach"`
	Arrival *stats.Samples `json:"arrival"`
}

// markdown returns the results as a page for people.
func (r results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Measured: networks of several hosts beside Swarm's and one made by hand\n\n")
	fmt.Fprintf(&b, "Written by `make bench`; [bench.md](bench.md) says how to read it.\n\n")
	fmt.Fprintf(&b, "%s, at the end %s. Engine %s on each of %d hosts.\n", r.Machine, r.LoadAtEnd, r.Engine, r.Hosts)
	fmt.Fprintf(&b, "br_netfilter is %s.\n", map[bool]string{false: "off", true: "on"}[r.Filtered])
	r.writeThroughput(&b)
	if len(r.Attach.Steps) > 0 {
		fmt.Fprintf(&b, "\n## Start and end of a container\n\nMilliseconds: median / p90 / p99. A ratio is that of the medians to Swarm's, "+
			"with its 95 %% confidence interval; below 1 is faster.\n\n")
		writeTimes(&b, r.Attach, 0)
	}
	if len(r.Arrival.Steps) > 0 {
		fmt.Fprintf(&b, "\n## A new container is there for the other hosts\n\nMilliseconds after its first instruction: median / p90 / p99, "+
			"over both other hosts. A time below 0 is before that instruction.\n\n")
		writeTimes(&b, r.Arrival, 1)
	}
	return b.String()
}

func (r results) writeThroughput(b *strings.Builder) {
	us := ournet().name
	if len(r.Throughput.Gbit[us]) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## TCP between containers of two hosts\n\n%d streams of %d s on each network, in turns: medians, and the ratio of ournet's "+
		"to the other's, with its 95 %% confidence interval. Of Gbit/s more is better, of CPU less.\n\n", len(r.Throughput.Gbit[us]), r.Seconds)
	fmt.Fprintf(b, "| network | Gbit/s | ournet to it | CPU ms per Gbit | ournet to it |\n|---|---|---|---|---|\n")
	for _, name := range []string{us, swarm().name, hands()[0].name, hands()[1].name} {
		fmt.Fprintf(b, "| %s |", name)
		for _, of := range []map[string][]float64{r.Throughput.Gbit, r.Throughput.CPU} {
			ratio := ""
			if name != us {
				ratio = show(stats.Compare(of[us], of[name]))
			}
			fmt.Fprintf(b, " %.2f | %s |", stats.Median(of[name]), ratio)
		}
		fmt.Fprintln(b)
	}
}

func writeTimes(b *strings.Builder, s *stats.Samples, digits int) {
	base, ours := swarm().name, ournet().name
	fmt.Fprintf(b, "| | values | %s | %s | ratio |\n|---|---|---|---|---|\n", base, ours)
	for _, step := range s.Steps {
		x, y := s.Values[step][base], s.Values[step][ours]
		ratio := ""
		if stats.Median(x) > 0 && stats.Median(y) > 0 {
			ratio = show(stats.Compare(y, x))
		}
		fmt.Fprintf(b, "| %s | %d | %s | %s | %s |\n", step, len(y), times(x, digits), times(y, digits), ratio)
	}
}

func times(values []float64, digits int) string {
	return fmt.Sprintf("%.*f / %.*f / %.*f", digits, stats.Median(values),
		digits, stats.Percentile(values, 90), digits, stats.Percentile(values, 99))
}

func show(i stats.Interval) string {
	return fmt.Sprintf("**%.2f** (%.2f to %.2f)", i.Ratio, i.Low, i.High)
}
