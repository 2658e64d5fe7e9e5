// Package stats says what measurements are worth: medians, percentiles, ratios with an
// interval of confidence, and the machine that they were made on. It knows nothing of
// what was measured.
package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Samples are durations in milliseconds, by step and variant.
type Samples struct {
	// Steps are in the order in which they were first seen.
	Steps []string
	// Values are in the order in which they were measured: those of one round have the
	// same place in each.
	Values map[string]map[string][]float64
}

// NewSamples returns no samples yet.
func NewSamples() *Samples { return &Samples{Values: make(map[string]map[string][]float64)} }

// Add appends what a step took.
func (s *Samples) Add(step, variant string, took time.Duration) {
	if s.Values[step] == nil {
		s.Steps = append(s.Steps, step)
		s.Values[step] = make(map[string][]float64)
	}
	s.Values[step][variant] = append(s.Values[step][variant], float64(took.Microseconds())/1000)
}

// Percentile returns the p-th percentile, 0 to 100, by the nearest rank; of the
// median of an even number, the mean of the two in the middle.
func Percentile(values []float64, p float64) float64 {
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

// Median is the 50th [Percentile].
func Median(values []float64) float64 { return Percentile(values, 50) }

// Interval is a ratio of two medians and where the true one lies with 95 %
// confidence.
type Interval struct {
	Ratio float64 `json:"ratio"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// resamples is how many times [Compare] draws.
const resamples = 4000

// Compare returns the median of a divided by that of b. Its confidence comes from
// drawing whole rounds with replacement, again and again (the bootstrap): a round
// that was disturbed goes in or stays out on both sides.
func Compare(a, b []float64) Interval {
	n := min(len(a), len(b))
	dice := rand.New(rand.NewPCG(3, 4))
	drawnA, drawnB := make([]float64, n), make([]float64, n)
	ratios := make([]float64, resamples)
	for i := range ratios {
		for j := range n {
			k := dice.IntN(n)
			drawnA[j], drawnB[j] = a[k], b[k]
		}
		ratios[i] = Median(drawnA) / Median(drawnB)
	}
	return Interval{Ratio: Median(a) / Median(b), Low: Percentile(ratios, 2.5), High: Percentile(ratios, 97.5)}
}
