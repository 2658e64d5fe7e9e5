package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// samples are durations in milliseconds, by step and variant, in the order in which
// they were measured: those of one round have the same place.
type samples struct {
	steps  []string // in the order in which they were first seen
	values map[string]map[string][]float64
}

func newSamples() *samples { return &samples{values: make(map[string]map[string][]float64)} }

func (s *samples) add(step, variant string, took time.Duration) {
	if s.values[step] == nil {
		s.steps = append(s.steps, step)
		s.values[step] = make(map[string][]float64)
	}
	s.values[step][variant] = append(s.values[step][variant], float64(took.Microseconds())/1000)
}

// percentile returns the p-th percentile, 0 to 100, by the nearest rank; of the
// median of an even number, the mean of the two in the middle.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	if p == 50 && len(sorted)%2 == 0 {
		return (sorted[len(sorted)/2-1] + sorted[len(sorted)/2]) / 2
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func median(values []float64) float64 { return percentile(values, 50) }

// interval is a ratio of two medians and where the true one lies with 95 %
// confidence.
type interval struct {
	Ratio float64 `json:"ratio"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// resamples is how many times [compare] draws.
const resamples = 4000

// compare returns the median of a divided by that of b. Its confidence comes from
// drawing whole rounds with replacement, again and again (the bootstrap): a round
// that was disturbed goes in or stays out on both sides.
func compare(a, b []float64) interval {
	n := min(len(a), len(b))
	dice := rand.New(rand.NewPCG(3, 4))
	drawnA, drawnB := make([]float64, n), make([]float64, n)
	ratios := make([]float64, resamples)
	for i := range ratios {
		for j := range n {
			k := dice.IntN(n)
			drawnA[j], drawnB[j] = a[k], b[k]
		}
		ratios[i] = median(drawnA) / median(drawnB)
	}
	return interval{Ratio: median(a) / median(b), Low: percentile(ratios, 2.5), High: percentile(ratios, 97.5)}
}
