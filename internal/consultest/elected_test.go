package consultest_test

import (
	"testing"
	"time"

	"github.com/ournet/ournet/internal/consultest"
)

func TestElected_isWhenTheLeaderOfTodayWon(t *testing.T) {
	t.Parallel()
	begin := time.Now().Truncate(time.Millisecond) // as the logs have it
	c := consultest.Start(t, 3, consultest.Options{})
	first, err := c.Elected()
	if err != nil {
		t.Fatal(err)
	}
	if now := time.Now(); first.Before(begin) || first.After(now) {
		t.Errorf("the first leader was elected at %s, want it between %s and %s", first, begin, now)
	}
	c.Leader(t).Kill(t)
	for next := first; !next.After(first); {
		if time.Since(begin) > time.Minute {
			t.Fatalf("nobody was elected after %s", first)
		}
		<-time.After(10 * time.Millisecond)
		if next, err = c.Elected(); err != nil {
			t.Fatal(err)
		}
	}
}
