package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ournet/ournet/test/bench/stats"
)

// markdown returns the results as a page for people.
func (r results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Measured: ournet beside the built-in bridge\n\n")
	fmt.Fprintf(&b, "Written by `make bench`; [bench.md](bench.md) says how to read it.\n\n")
	fmt.Fprintf(&b, "%s.\n", r.Machine)
	for _, e := range r.Engines {
		fmt.Fprintf(&b, "\n## Engine %s\n\n%s, API %s.\n", e.Engine, e.versions(), e.API)
		e.writeLatency(&b, r.Rounds)
		e.writeAttach(&b)
		e.writeCallbacks(&b)
		e.writeMemory(&b)
		e.writeThroughput(&b)
	}
	r.Tunnels.markdown(&b)
	writeScale(&b, r.Scale)
	return b.String()
}

func (e engineResults) versions() string {
	var all []string
	for name, version := range e.Components {
		all = append(all, name+" "+version)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func (e engineResults) writeLatency(b *strings.Builder, rounds int) {
	base, ours, mixed, floor := variants()[0].name, variants()[1].name, variants()[2].name, variants()[3].name
	fmt.Fprintf(b, "\n### Commands\n\nMilliseconds, %d rounds: median / p90 / p99. A ratio is that of the medians to the built-in "+
		"bridge's, with its 95 %% confidence interval; below 1 is faster.\n\n", rounds)
	fmt.Fprintf(b, "| | %s | %s | ratio | %s | ratio | %s |\n|---|---|---|---|---|---|---|\n", base, ours, mixed, floor)
	for _, l := range e.Latency {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", l.Step,
			l.Variants[base].times(), l.Variants[ours].times(), l.Variants[ours].ratio(),
			l.Variants[mixed].times(), l.Variants[mixed].ratio(), l.Variants[floor].times())
	}
}

func (s summary) times() string {
	if len(s.Values) == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f / %.0f / %.0f", s.Median, s.P90, s.P99)
}

func (s summary) ratio() string {
	if s.Ratio == nil {
		return ""
	}
	return fmt.Sprintf("**%.2f** (%.2f to %.2f)", s.Ratio.Ratio, s.Ratio.Low, s.Ratio.High)
}

func (e engineResults) writeAttach(b *strings.Builder) {
	a := e.Attach
	in, out := a.sum(attaching()), a.sum(detaching())
	fmt.Fprintf(b, "\n### What of it is the plugin's\n\n%d containers, one after the other, on an ournet network with `--ipam-driver ournet`. "+
		"`docker run -d` took %.0f ms, of which the plugin's verbs %.1f ms (%.0f %%); `docker rm -f` took %.0f ms, of which %.1f ms (%.0f %%).\n\n",
		a.Runs, a.RunMS, in/1000, in/10/a.RunMS, a.RemoveMS, out/1000, out/10/a.RemoveMS)
	fmt.Fprintf(b, "| verb | per container | p50 µs | p99 µs |\n|---|---|---|---|\n")
	for _, verb := range append(attaching(), detaching()...) {
		for _, c := range a.Callbacks {
			if c.Verb == verb {
				fmt.Fprintf(b, "| %s | %.1f | %d | %d |\n", verb, a.perRun(c), c.P50, c.P99)
			}
		}
	}
}

func (e engineResults) writeCallbacks(b *strings.Builder) {
	fmt.Fprintf(b, "\n### All verbs, over all commands above\n\n| verb | calls | errors | p50 µs | p99 µs | max µs |\n|---|---|---|---|---|---|\n")
	for _, c := range e.Callbacks {
		fmt.Fprintf(b, "| %s | %d | %d | %d | %d | %d |\n", c.Verb, c.Count, c.Errors, c.P50, c.P99, c.Max)
	}
}

func (e engineResults) writeMemory(b *strings.Builder) {
	fmt.Fprintf(b, "\n### Memory of the plugin's process\n\n| | RSS MB | of that not shared MB |\n|---|---|---|\n")
	for _, m := range e.Memory {
		fmt.Fprintf(b, "| %s | %.1f | %.1f |\n", m.When, m.RSS, m.Anon)
	}
}

func (e engineResults) writeThroughput(b *strings.Builder) {
	base, ours := variants()[0].name, variants()[1].name
	x, y := e.Throughput.Values[base], e.Throughput.Values[ours]
	if len(x) == 0 || len(y) == 0 {
		return
	}
	r := stats.Compare(y, x)
	fmt.Fprintf(b, "\n### TCP between two containers\n\n%d streams of %d s on each: %s %.1f Gbit/s (%.1f to %.1f), %s %.1f (%.1f to %.1f); "+
		"ratio of the medians **%.2f** (%.2f to %.2f); above 1 is faster.\n", len(x), streamSeconds,
		base, stats.Median(x), slices.Min(x), slices.Max(x), ours, stats.Median(y), slices.Min(y), slices.Max(y), r.Ratio, r.Low, r.High)
	if z := e.Throughput.Values[unchecked().name]; len(z) > 0 {
		r := stats.Compare(y, z)
		fmt.Fprintf(b, "With `ournet.spoof_check=false` %.1f Gbit/s; ratio of %s to that **%.2f** (%.2f to %.2f).\n", stats.Median(z), ours, r.Ratio, r.Low, r.High)
	}
}

func writeScale(b *strings.Builder, all []scale) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## A full host\n\nStart of one more container by the API, in milliseconds, on an empty host and on one with %d endpoints "+
		"of the same driver on %d networks: medians of %d, and their ratio with its 95 %% confidence interval; 1 means that it does not grow.\n\n",
		all[0].Endpoints, all[0].Networks, len(all[0].Steps[0].Full))
	fmt.Fprintf(b, "| engine | network | | empty | full | ratio |\n|---|---|---|---|---|---|\n")
	for _, s := range all {
		for _, step := range s.Steps {
			fmt.Fprintf(b, "| %s | %s | %s | %.0f | %.0f | **%.2f** (%.2f to %.2f) |\n", s.Engine, step.Variant, step.Step,
				stats.Median(step.Empty), stats.Median(step.Full), step.Ratio.Ratio, step.Ratio.Low, step.Ratio.High)
		}
	}
}
