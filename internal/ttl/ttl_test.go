package ttl_test

import (
	"testing"
	"time"

	"github.com/ournet/ournet/internal/ttl"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		value string
		want  time.Duration
		ok    bool
	}{
		{"5s", 5 * time.Second, true},
		{"2m", 2 * time.Minute, true},
		{"0s", 0, true},
		{"0", 0, true},
		{"24h", ttl.Most, true},
		{"1000ms", time.Second, true},
		// On the wire there are whole seconds; half a one would silently become none.
		{"500ms", 0, false},
		{"24h1s", 0, false},
		{"-1s", 0, false},
		{"5", 0, false},
		{"", 0, false},
	} {
		got, err := ttl.Parse(tc.value)
		if got != tc.want || (err == nil) != tc.ok {
			t.Errorf("Parse(%q) = %s, %v, want %s and ok = %t", tc.value, got, err, tc.want, tc.ok)
		}
	}
}
