package main

import (
	"io"
	"net/netip"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/consultest"
)

// TestRun_noAddressTwiceAndNoneLost is the benchmark, smaller: as a check it takes
// part in all tests.
func TestRun_noAddressTwiceAndNoneLost(t *testing.T) {
	t.Parallel()
	cluster := consultest.Start(t, 1, consultest.Options{})
	log := logrus.New()
	log.SetOutput(io.Discard)
	stores := newStores(log, cluster.Addresses())
	defer func() {
		if err := stores.close(); err != nil {
			t.Error(err)
		}
	}()
	const n = 8_000
	// A small pool, so that hosts also have to ask each other.
	o, err := run(t.Context(), load{
		hosts: 8, workers: 4, hold: 4, n: n, crashes: 12, subnet: netip.MustParsePrefix("10.1.0.0/24"), dir: t.TempDir(), seed: 1, log: log,
	}, stores.open)
	if err != nil {
		t.Fatal(err)
	}
	if o.n < n || len(o.twice) > 0 || o.crashes != 12 {
		t.Errorf("%d were given over %d crashes, twice: %q", o.n, o.crashes, o.twice)
	}
}

func TestChecker_findsWhatIsGivenTwice(t *testing.T) {
	t.Parallel()
	c := newChecker()
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	c.take(a, "x")
	c.take(b, "y")
	c.give(a)
	c.take(a, "y")
	if n, twice := c.result(); n != 3 || len(twice) > 0 {
		t.Errorf("%d, twice %q", n, twice)
	}
	c.take(b, "x")
	if _, twice := c.result(); len(twice) != 1 {
		t.Errorf("twice %q", twice)
	}
}
