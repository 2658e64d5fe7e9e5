package plugin

import (
	"math/bits"
	"sync"
	"time"
)

// VerbStats says how often a verb was called and how long it took, in
// microseconds. The percentiles are at most one eighth too large.
type VerbStats struct {
	Count  uint64 `json:"count"`
	Errors uint64 `json:"errors"`
	P50    int64  `json:"p50_us"`
	P99    int64  `json:"p99_us"`
	Max    int64  `json:"max_us"`
}

// durations counts calls in buckets of growing width, eight to each power of
// two, so that its size does not depend on how much it has seen.
type durations struct {
	mu    sync.Mutex // guards verbs
	verbs map[string]*histogram
}

// subBuckets is how many buckets share a power of two.
const subBuckets = 8

type histogram struct {
	buckets [64 * subBuckets]uint64
	count   uint64
	errors  uint64
	max     int64 // microseconds
}

func newDurations() *durations { return &durations{verbs: make(map[string]*histogram)} }

func (d *durations) record(verb string, took time.Duration, failed bool) {
	us := max(took.Microseconds(), 0)
	d.mu.Lock()
	defer d.mu.Unlock()
	h, ok := d.verbs[verb]
	if !ok {
		h = &histogram{}
		d.verbs[verb] = h
	}
	h.buckets[bucketOf(us)]++
	h.count++
	h.max = max(h.max, us)
	if failed {
		h.errors++
	}
}

func (d *durations) snapshot() map[string]VerbStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make(map[string]VerbStats, len(d.verbs))
	for verb, h := range d.verbs {
		out[verb] = VerbStats{Count: h.count, Errors: h.errors, P50: h.percentile(50), P99: h.percentile(99), Max: h.max}
	}
	return out
}

// percentile returns the upper end of the bucket that holds the p-th part in a
// hundred of all calls.
func (h *histogram) percentile(p uint64) int64 {
	rank := (h.count*p + 99) / 100
	var seen uint64
	for i, n := range h.buckets {
		seen += n
		if n > 0 && seen >= rank {
			return min(bucketEnd(i), h.max)
		}
	}
	return h.max
}

// bucketOf returns the bucket of a duration: the values below subBuckets have
// one each, then every power of two is cut in subBuckets equal parts.
func bucketOf(us int64) int {
	if us < subBuckets {
		return int(us)
	}
	shift := bits.Len64(uint64(us)) - bits.Len(subBuckets)
	return shift*subBuckets + int(us>>shift)
}

// bucketEnd returns the largest duration of a bucket.
func bucketEnd(i int) int64 {
	if i < subBuckets {
		return int64(i)
	}
	shift := i/subBuckets - 1
	return (int64(i-shift*subBuckets)+1)<<shift - 1
}
