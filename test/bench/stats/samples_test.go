package stats

import (
	"math"
	"testing"
)

func TestPercentile_isTheNearestRank(t *testing.T) {
	t.Parallel()
	values := []float64{5, 1, 4, 2, 3, 6, 10, 9, 8, 7}
	for _, tc := range []struct{ p, want float64 }{{50, 5.5}, {90, 9}, {99, 10}, {0, 1}, {100, 10}} {
		if got := Percentile(values, tc.p); got != tc.want {
			t.Errorf("Percentile(1 to 10, %v) = %v, want %v", tc.p, got, tc.want)
		}
	}
	if got := Percentile(nil, 50); !math.IsNaN(got) {
		t.Errorf("Percentile of nothing = %v, want NaN", got)
	}
	if values[0] != 5 {
		t.Error("Percentile changed the order of its argument, which is that of the rounds")
	}
}

// A round that is slow on both sides says nothing about their ratio.
func TestCompare_disturbedRoundsDoNotWidenTheRatio(t *testing.T) {
	t.Parallel()
	var a, b []float64
	for i := range 40 {
		disturbance := float64(1 + i%7)
		a, b = append(a, 9*disturbance), append(b, 10*disturbance)
	}
	got := Compare(a, b)
	if math.Abs(got.Ratio-0.9) > 1e-9 || math.Abs(got.Low-0.9) > 1e-9 || math.Abs(got.High-0.9) > 1e-9 {
		t.Errorf("Compare = %+v, want 0.9 exactly", got)
	}
}

func TestCompare_noiseWidensTheInterval(t *testing.T) {
	t.Parallel()
	var a, b []float64
	for i := range 40 {
		a, b = append(a, 100+float64(i*7%40)), append(b, 100+float64(i*11%40))
	}
	got := Compare(a, b)
	if got.Low >= 1 || got.High <= 1 || got.Ratio < got.Low || got.Ratio > got.High {
		t.Errorf("Compare = %+v, want an interval around 1 and the ratio in it", got)
	}
}

func TestCompare_sameInputGivesTheSameInterval(t *testing.T) {
	t.Parallel()
	a, b := []float64{1, 2, 3, 4, 5, 6, 7}, []float64{2, 2, 3, 5, 5, 6, 9}
	if x, y := Compare(a, b), Compare(a, b); x != y {
		t.Errorf("Compare = %+v and then %+v", x, y)
	}
}
