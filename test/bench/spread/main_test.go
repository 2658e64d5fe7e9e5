package main

import (
	"testing"

	"github.com/ournet/ournet/internal/consultest"
)

// TestMeasure_everyHostSeesEveryName is the benchmark, smaller: as a check it takes part
// in all tests.
func TestMeasure_everyHostSeesEveryName(t *testing.T) {
	t.Parallel()
	servers := consultest.Start(t, 1, consultest.Options{})
	o := options{hosts: 5, endpoints: 20, events: 6, dir: t.TempDir()}
	r, err := measure(t.Context(), o, servers.Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, variant := range []string{ours, bare} {
		if got := len(r.Times.Values[onEach][variant]); got != 24 {
			t.Errorf("%s: %d times, want one of each of 4 others for each of 6 names", variant, got)
		}
		if got := len(r.Times.Values[onAll][variant]); got != 6 {
			t.Errorf("%s: %d times of the last host, want 6", variant, got)
		}
	}
}
