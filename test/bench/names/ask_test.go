package main

import (
	"slices"
	"testing"
)

// output is what dnsperf 2.10 prints, without its beginning.
const output = `> NOERROR host998 A 0.000149
> NOERROR host999 A 0.021000
[Status] Testing complete (time limit)

Statistics:

  Queries sent:         1000
  Queries completed:    1000 (100.00%)
  Queries lost:         0 (0.00%)

  Response codes:       NOERROR 1000 (100.00%)
  Run time (s):         1.001377
  Queries per second:   998.624894
`

func TestLatencies(t *testing.T) {
	got, err := latencies(output)
	if err != nil || !slices.Equal(got, []float64{149, 21000}) {
		t.Errorf("got %v, %v; want 149 and 21000 µs", got, err)
	}
	if _, err := latencies("Statistics:\n"); err == nil {
		t.Error("no error where dnsperf told no times")
	}
}

func TestCheckAnswered(t *testing.T) {
	if err := checkAnswered(output); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]string{
		"lost":  "Queries lost: 3 (0.30%)\nResponse codes: NOERROR 997 (100.00%)\n",
		"wrong": "Queries lost: 0 (0.00%)\nResponse codes: NOERROR 1 (0.10%), NXDOMAIN 999 (99.90%)\n",
	} {
		if checkAnswered(bad) == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
