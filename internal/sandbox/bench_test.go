package sandbox

import (
	"fmt"
	"testing"
)

// The heartbeat of a host with that many containers.
func BenchmarkBeat(b *testing.B) {
	h := newHost(b)
	s := h.sandboxes(Options{Timeout: longAgo})
	const count = 100
	for i := range count {
		if _, err := s.Ensure(b.Context(), h.start(fmt.Sprintf("c%d", i)).key); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		s.beat(b.Context(), s.keys())
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/count, "µs/sandbox")
}

func BenchmarkEnsure(b *testing.B) {
	h := newHost(b)
	s := h.sandboxes(Options{Timeout: longAgo})
	c := h.start("a")
	for b.Loop() {
		if _, err := s.Ensure(b.Context(), c.key); err != nil {
			b.Fatal(err)
		}
		if err := s.Remove(b.Context(), c.key); err != nil {
			b.Fatal(err)
		}
	}
}
