package main

import (
	"fmt"
	"strings"

	"github.com/ournet/ournet/test/bench/stats"
)

// results is all that was measured. The maps are by server.
type results struct {
	Machine   stats.Machine `json:"machine"`
	LoadAtEnd string        `json:"load_at_end"`
	Engine    string        `json:"engine"`
	Names     int           `json:"names"`
	Clients   int           `json:"clients"`
	Seconds   float64       `json:"seconds"`
	// Queries a second, and the microseconds of CPU for each.
	Queries map[string][]float64 `json:"queries"`
	CPU     map[string][]float64 `json:"cpu"`
	// P50 and P99 are times to the answer, in microseconds, at half load.
	P50 map[string][]float64 `json:"p50"`
	P99 map[string][]float64 `json:"p99"`
	// Arrival is in milliseconds, by the name of the network.
	Arrival *stats.Samples `json:"arrival"`
}

// markdown returns the results as a page for people.
func (r results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Measured: names\n\nWritten by `make bench`; [bench.md](bench.md) says how to read it.\n\n")
	fmt.Fprintf(&b, "%s, at the end %s. Engine %s.\n", r.Machine, r.LoadAtEnd, r.Engine)
	r.writeQueries(&b)
	r.writeArrivals(&b)
	return b.String()
}

func (r results) writeQueries(b *strings.Builder) {
	if len(r.Queries) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## Queries\n\n%d rounds of %g s, %d names, %d sockets; medians, and the ratio of ournet's to the other's, with its 95 %% confidence interval. "+
		"Of queries more is better, of CPU and time less. Times are at half of the server's own rate.\n\n", len(r.Queries[ours]), r.Seconds, r.Names, r.Clients)
	fmt.Fprintf(b, "| server | queries/s | ournet to it | CPU µs each | ournet to it | p50 µs | p99 µs | ournet's p99 to it |\n|---|---|---|---|---|---|---|---|\n")
	for _, name := range []string{ours, theirs, coredns, echoing} {
		ratio := func(of map[string][]float64) string {
			if name == ours {
				return ""
			}
			i := stats.Compare(of[ours], of[name])
			return fmt.Sprintf("**%.2f** (%.2f to %.2f)", i.Ratio, i.Low, i.High)
		}
		fmt.Fprintf(b, "| %s | %.0f | %s | %.2f | %s | %.0f | %.0f | %s |\n", name, stats.Median(r.Queries[name]), ratio(r.Queries),
			stats.Median(r.CPU[name]), ratio(r.CPU), stats.Median(r.P50[name]), stats.Median(r.P99[name]), ratio(r.P99))
	}
}

func (r results) writeArrivals(b *strings.Builder) {
	if len(r.Arrival.Steps) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## A new container is there on its host\n\nMilliseconds after its first instruction: median / p90 / p99. "+
		"A time below 0 is before that instruction.\n\n| | values |")
	for _, n := range networks() {
		fmt.Fprintf(b, " %s |", n.name)
	}
	fmt.Fprintf(b, "\n|---|---|---|---|\n")
	for _, step := range r.Arrival.Steps {
		fmt.Fprintf(b, "| %s | %d |", step, len(r.Arrival.Values[step][networks()[0].name]))
		for _, n := range networks() {
			all := r.Arrival.Values[step][n.name]
			fmt.Fprintf(b, " %.1f / %.1f / %.1f |", stats.Median(all), stats.Percentile(all, 90), stats.Percentile(all, 99))
		}
		fmt.Fprintln(b)
	}
}
