package consul_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/consultest"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/consul"
)

func mustApply(t *testing.T, s *consul.Store, ops ...store.Op) store.Index {
	t.Helper()
	index, err := s.Apply(within(t), ops...)
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	return index
}

func mustLease(t *testing.T, s *consul.Store, ttl time.Duration, onLoss store.OnLoss) store.Lease {
	t.Helper()
	lease, err := s.Lease(within(t), store.LeaseOptions{Name: t.Name(), TTL: ttl, OnLoss: onLoss})
	if err != nil {
		t.Fatalf("Lease: %v", err)
	}
	return lease
}

func wantLost(t *testing.T, lease store.Lease) {
	t.Helper()
	select {
	case <-lease.Done():
	case <-within(t).Done():
		t.Fatal("the lease was not lost")
	}
}

func wantAlive(t *testing.T, lease store.Lease) {
	t.Helper()
	select {
	case <-lease.Done():
		t.Fatal("the lease was lost")
	default:
	}
}

type waited struct {
	pairs []store.Pair
	index store.Index
	err   error
}

func waitLater(t *testing.T, s *consul.Store, prefix string, after store.Index) <-chan waited {
	t.Helper()
	ctx := within(t)
	ch := make(chan waited, 1)
	go func() {
		pairs, index, err := s.List(ctx, prefix, after)
		ch <- waited{pairs, index, err}
	}()
	return ch
}

func TestRestart_keepsRecordsAndLeases(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 1, consultest.Options{})
	s := openStore(t, settings(c))
	lease := mustLease(t, s, time.Minute, store.Remove)
	at := mustApply(t, s, store.Set("a/1", []byte("1")), store.Hold("a/2", []byte("2"), lease.ID()))
	waiting := waitLater(t, s, "a/", at)

	c.Servers[0].Kill(t)
	if a := <-waiting; a.err != nil {
		wantError(t, "the wait", a.err, store.ErrUnavailable, "connection refused")
	}
	_, err := s.Apply(within(t), store.Set("a/1", []byte("lost")))
	wantError(t, "Apply", err, store.ErrUnavailable)
	c.Servers[0].Start(t)

	pair, err := s.Get(within(t), "a/2")
	if err != nil || pair.Index != at || pair.Lease != lease.ID() || string(pair.Value) != "2" {
		t.Errorf("after the restart: %+v, %v", pair, err)
	}
	wantAlive(t, lease)
	waiting = waitLater(t, s, "a/", at)
	written := mustApply(t, s, store.Set("a/3", []byte("3")))
	if a := <-waiting; a.err != nil || a.index != written || len(a.pairs) != 3 || written <= at {
		t.Errorf("wait after the restart: %+v, written at %d after %d", a, written, at)
	}
	if err := lease.End(within(t)); err != nil {
		t.Error(err)
	}
}

// A watcher that comes back to a Consul that was wiped learns what is there now,
// whether it notices that the server was away or not.
func TestRestart_wiped(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 1, consultest.Options{})
	cfg := settings(c)
	s := openStore(t, cfg)
	cfg.Wait = time.Second
	unaware := openStore(t, cfg)
	lease := mustLease(t, s, 3*time.Second, store.Release)
	var at store.Index
	for i := range 200 {
		at = mustApply(t, s, store.Set("a/"+strconv.Itoa(i%10), []byte("old")))
	}
	mustApply(t, s, store.Hold("host", nil, lease.ID()))
	waiting := waitLater(t, s, "a/", at)

	c.Servers[0].Kill(t)
	c.Servers[0].Wipe(t)
	c.Servers[0].Start(t)
	// It lost its server, so it answers without a change, or says so.
	if a := <-waiting; a.err == nil && (a.index >= at || len(a.pairs) != 0) {
		t.Errorf("the wait that was cut: %+v", a)
	} else if a.err != nil && !errors.Is(a.err, store.ErrUnavailable) {
		t.Errorf("the wait that was cut: %v", a.err)
	}
	pairs, index, err := unaware.List(within(t), "a/", at)
	if err != nil || index >= at || len(pairs) != 0 {
		t.Errorf("a wait after an index that is gone: %v at %d, %v", pairs, index, err)
	}
	waiting = waitLater(t, s, "a/", index)
	written := mustApply(t, s, store.CAS("a/new", []byte("new"), 0))
	if a := <-waiting; a.err != nil || len(a.pairs) != 1 || a.index < written {
		t.Errorf("a wait after the new index %d: %+v", index, a)
	}
	wantLost(t, lease)
	again := mustLease(t, s, time.Minute, store.Release)
	mustApply(t, s, store.Hold("host", nil, again.ID()))
}

// told is a watcher that hands on what it is told.
type told struct {
	ctx  context.Context //nolint:containedctx // a watcher's methods have none
	seen chan map[string]string
	away chan error
}

func (w told) See(pairs []store.Pair) {
	have := make(map[string]string)
	for _, p := range pairs {
		have[p.Key] = string(p.Value)
	}
	select {
	case w.seen <- have:
	case <-w.ctx.Done():
	}
}

func (w told) Away(err error) {
	select {
	case w.away <- err:
	case <-w.ctx.Done():
	}
}

// until waits until the watcher sees exactly this.
func (w told) until(t *testing.T, want map[string]string) {
	t.Helper()
	ctx := within(t)
	for {
		select {
		case have := <-w.seen:
			if maps.Equal(have, want) {
				return
			}
		case err := <-w.away:
			t.Logf("away: %v", err)
		case <-ctx.Done():
			t.Fatalf("the watcher does not see %v", want)
		}
	}
}

func TestWatch_goesOnAfterConsulWasAwayAndAfterItWasWiped(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 1, consultest.Options{})
	s := openStore(t, settings(c))
	ctx, cancel := context.WithCancel(t.Context())
	w := told{ctx: ctx, seen: make(chan map[string]string), away: make(chan error)}
	ended := make(chan error, 1)
	go func() { ended <- store.Watch(ctx, s, "a/", w) }()

	w.until(t, map[string]string{})
	mustApply(t, s, store.Set("a/1", []byte("1")))
	w.until(t, map[string]string{"a/1": "1"})
	c.Servers[0].Kill(t)
	select {
	case err := <-w.away:
		wantError(t, "the watch", err, store.ErrUnavailable)
	case <-within(t).Done():
		t.Fatal("the watcher is not told that Consul is away")
	}
	c.Servers[0].Start(t)
	w.until(t, map[string]string{"a/1": "1"})
	mustApply(t, s, store.Set("a/2", []byte("2")))
	w.until(t, map[string]string{"a/1": "1", "a/2": "2"})
	c.Servers[0].Kill(t)
	c.Servers[0].Wipe(t)
	c.Servers[0].Start(t)
	w.until(t, map[string]string{})
	mustApply(t, s, store.Set("a/3", []byte("3")))
	w.until(t, map[string]string{"a/3": "3"})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch: %v", err)
	}
}

// A store that is closed without the end of its leases is what a crash leaves to
// others. Meanwhile a lease of the same TTL whose holder lives stays.
func TestLease_endsWithItsHolder(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 1, consultest.Options{})
	cfg := settings(c)
	stays, goes := openStore(t, cfg), openStore(t, cfg)
	const ttl = 4 * time.Second
	mine, released, removed := mustLease(t, stays, ttl, store.Remove), mustLease(t, goes, ttl, store.Release), mustLease(t, goes, ttl, store.Remove)
	mustApply(t, stays, store.Hold("a/mine", nil, mine.ID()))
	index := mustApply(t, goes, store.Hold("a/released", nil, released.ID()), store.Hold("a/removed", nil, removed.ID()))
	if err := goes.Close(); err != nil {
		t.Fatal(err)
	}
	wantLost(t, released)
	wantLost(t, removed)
	for {
		pairs, at, err := stays.List(within(t), "a/", index)
		if err != nil {
			t.Fatal(err)
		}
		index = at
		holders := make(map[string]string)
		for _, p := range pairs {
			holders[p.Key] = p.Lease
		}
		if _, there := holders["a/removed"]; !there && holders["a/released"] == "" {
			if want := fmt.Sprint(map[string]string{"a/mine": mine.ID(), "a/released": ""}); fmt.Sprint(holders) != want {
				t.Errorf("held are %v, want %s", holders, want)
			}
			break
		}
	}
	wantAlive(t, mine)
	if _, err := goes.Lease(within(t), store.LeaseOptions{TTL: ttl}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Lease of a closed store: %v, want ErrClosed", err)
	}
}

// While Consul is away nobody can tell that it did not end the lease, so its holder
// has to take it for lost; and takes a new one when Consul is back.
func TestLease_isLostWhenConsulStaysAway(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 1, consultest.Options{})
	s := openStore(t, settings(c))
	lease := mustLease(t, s, 2*time.Second, store.Release)
	mustApply(t, s, store.Hold("host", []byte("1"), lease.ID()))
	c.Servers[0].Kill(t)
	wantLost(t, lease)
	c.Servers[0].Start(t)
	again := mustLease(t, s, time.Minute, store.Release)
	// The old one may still hold the key. Its End makes sure.
	if err := lease.End(within(t)); err != nil {
		t.Fatal(err)
	}
	mustApply(t, s, store.Hold("host", []byte("2"), again.ID()))
	wantAlive(t, again)
}

func TestLease_refusedTTLIsClear(t *testing.T) {
	t.Parallel()
	s := openStore(t, settings(consultest.Start(t, 1, consultest.Options{})))
	_, err := s.Lease(within(t), store.LeaseOptions{TTL: 10 * time.Millisecond})
	if err == nil || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a TTL below what Consul takes: %v", err)
	}
}
