package consul_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/internal/consultest"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/consul"
)

// quick notices a dead server soon. A wait is long, so that what ends it is that
// the server was found dead.
func quick(cfg consul.Config) consul.Config {
	cfg.Attempt = time.Second
	cfg.Pulse = 300 * time.Millisecond
	cfg.Wait = 5 * time.Minute
	return cfg
}

// traffic is writers and watchers that go on whatever happens to the servers.
type traffic struct {
	s *consul.Store

	mu    sync.Mutex // guards all below
	acked int        // writes that were acknowledged, of all writers
	seen  int        // changes that the watcher saw
	moved chan struct{}
}

const (
	writers = 4
	folder  = "w/"
)

// run goes on until stop is closed, and then until the watcher has seen the last
// writes. It returns what each writer wrote last for certain.
func (f *traffic) run(ctx context.Context, stop <-chan struct{}) (map[string]int, error) {
	last := make([]int, writers)
	g, ctx := errgroup.WithContext(ctx)
	written := make(chan struct{})
	var w sync.WaitGroup
	for i := range writers {
		w.Add(1)
		g.Go(func() error {
			defer w.Done()
			var err error
			last[i], err = f.write(ctx, stop, folder+strconv.Itoa(i))
			return err
		})
	}
	g.Go(func() error { return f.watch(ctx, written, last) })
	g.Go(func() error {
		w.Wait()
		close(written)
		// The watcher may have seen the last already, and wait for more.
		_, err := f.s.Apply(ctx, store.Set(folder+"end", []byte("0")))
		return err
	})
	err := g.Wait()
	result := make(map[string]int)
	for i, n := range last {
		result[folder+strconv.Itoa(i)] = n
	}
	return result, err
}

// write counts up in one key. It always says what it builds upon, so that no write
// whose answer was lost can come late and undo a later one.
func (f *traffic) write(ctx context.Context, stop <-chan struct{}, key string) (int, error) {
	n, at := 0, store.Index(0)
	for {
		select {
		case <-stop:
			return n, nil
		case <-ctx.Done():
			return n, fmt.Errorf("writer of %s at %d: %w", key, n, ctx.Err())
		default:
		}
		index, err := f.s.Apply(ctx, store.CAS(key, []byte(strconv.Itoa(n+1)), at))
		switch {
		case err == nil:
			if index <= at {
				return n, fmt.Errorf("write of %s: index %d after %d", key, index, at)
			}
			n, at = n+1, index
			f.count(&f.acked)
			continue
		case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrUnavailable):
		default:
			return n, fmt.Errorf("write %s: %w", key, err)
		}
		// Was it written? The next round goes on from what is there.
		pair, err := f.s.Get(ctx, key)
		switch have, _ := strconv.Atoi(string(pair.Value)); {
		case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrNotFound) && n == 0:
		case err != nil:
			return n, fmt.Errorf("read %s after %d was acknowledged: %w", key, n, err)
		case have != n && have != n+1:
			return n, fmt.Errorf("%s is %d after %d was acknowledged", key, have, n)
		default:
			n, at = have, pair.Index
		}
	}
}

// watch follows the folder until all writers have ended and it has seen the last of
// them. Neither indexes nor values may go back.
func (f *traffic) watch(ctx context.Context, written <-chan struct{}, last []int) error {
	var after store.Index
	have := make(map[string]int)
	for {
		pairs, index, err := f.s.List(ctx, folder, after)
		switch {
		case errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil:
			continue
		case err != nil:
			return fmt.Errorf("watcher after %d: %w", after, err)
		case index < after:
			return fmt.Errorf("index went back from %d to %d", after, index)
		}
		after = index
		for _, p := range pairs {
			n, err := strconv.Atoi(string(p.Value))
			if err != nil {
				return err
			}
			if n < have[p.Key] {
				return fmt.Errorf("%s went back from %d to %d", p.Key, have[p.Key], n)
			}
			have[p.Key] = n
		}
		f.count(&f.seen)
		select {
		case <-written:
			if upToDate(have, last) {
				return nil
			}
		default:
		}
	}
}

func upToDate(have map[string]int, last []int) bool {
	for i, n := range last {
		if have[folder+strconv.Itoa(i)] < n {
			return false
		}
	}
	return true
}

func (f *traffic) count(n *int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*n++
	close(f.moved)
	f.moved = make(chan struct{})
}

// more waits until so many more writes were acknowledged and changes were seen.
func (f *traffic) more(t *testing.T, what string, n int) {
	t.Helper()
	ctx := within(t)
	start := time.Now()
	f.mu.Lock()
	acked, seen := f.acked+n, f.seen+n/10
	for f.acked < acked || f.seen < seen {
		moved := f.moved
		f.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			t.Fatalf("%s: nothing moves", what)
		}
		f.mu.Lock()
	}
	f.mu.Unlock()
	t.Logf("%s: %d writes and %d changes took %s", what, n, n/10, time.Since(start).Round(time.Millisecond))
}

// behind puts the address of a server first, so that it is the one that is asked.
func behind(cfg consul.Config, s *consultest.Server) consul.Config {
	addresses := []string{s.Address}
	for _, a := range cfg.Addresses {
		if a != s.Address {
			addresses = append(addresses, a)
		}
	}
	cfg.Addresses = addresses
	return cfg
}

func TestFailover_nothingAcknowledgedIsLost(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		follower bool // the store asks a follower and not the leader
		fall     func(s *consultest.Server, t testing.TB)
		rise     func(s *consultest.Server, t testing.TB)
	}{
		{"leader killed", false, (*consultest.Server).Kill, (*consultest.Server).Start},
		{"leader frozen", false, (*consultest.Server).Freeze, (*consultest.Server).Thaw},
		{"leader killed behind a follower", true, (*consultest.Server).Kill, (*consultest.Server).Start},
		{"leader frozen behind a follower", true, (*consultest.Server).Freeze, (*consultest.Server).Thaw},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := consultest.Start(t, 3, consultest.Options{ACL: true, TLS: true})
			cfg := quick(secured(c, c.Token(t, "ournet", policy)))
			leader := c.Leader(t)
			asked := leader
			for _, s := range c.Servers {
				if tc.follower && s != leader {
					asked = s
				}
			}
			s := openStore(t, behind(cfg, asked))
			lease, err := s.Lease(within(t), store.LeaseOptions{Name: "host", TTL: 20 * time.Second, OnLoss: store.Remove})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Apply(within(t), store.Hold("host", []byte("here"), lease.ID())); err != nil {
				t.Fatal(err)
			}

			f := &traffic{s: s, moved: make(chan struct{})}
			stop, ended := make(chan struct{}), make(chan struct{})
			var last map[string]int
			go func() {
				defer close(ended)
				last, err = f.run(t.Context(), stop)
			}()
			f.more(t, "before", 100)
			tc.fall(leader, t)
			f.more(t, "while the leader is away", 100)
			tc.rise(leader, t)
			f.more(t, "after it came back", 100)
			close(stop)
			<-ended
			if err != nil {
				t.Fatal(err)
			}
			for key, n := range last {
				pair, err := s.Get(within(t), key)
				if err != nil || string(pair.Value) != strconv.Itoa(n) {
					t.Errorf("%s is %q, %v; acknowledged was %d", key, pair.Value, err, n)
				}
			}
			select {
			case <-lease.Done():
				t.Error("the lease was lost")
			default:
			}
			if pair, err := s.Get(within(t), "host"); err != nil || pair.Lease != lease.ID() {
				t.Errorf("the held key is %+v, %v", pair, err)
			}
		})
	}
}

// A wait goes on when the follower that it is at hangs, long before its own time is
// over.
func TestFailover_waitLeavesAFrozenServer(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 3, consultest.Options{})
	leader := c.Leader(t)
	var follower *consultest.Server
	for _, s := range c.Servers {
		if s != leader {
			follower = s
		}
	}
	s := openStore(t, behind(quick(settings(c)), follower))
	at, err := s.Apply(within(t), store.Set("a/1", []byte("1")))
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		pairs []store.Pair
		err   error
	}
	ch := make(chan answer, 1)
	go func() {
		pairs, _, err := s.List(t.Context(), "a/", at)
		ch <- answer{pairs, err}
	}()
	follower.Freeze(t)
	select {
	case a := <-ch: // it may answer without a change, but only with what is there
		if a.err != nil || len(a.pairs) != 1 {
			t.Errorf("List: %+v", a)
		}
	case <-within(t).Done():
		t.Fatal("the wait hangs at the frozen server")
	}
	follower.Thaw(t)
}

// At the start, too, an address where nobody is does not matter beside one that works.
func TestFailover_addressWhereNobodyIs(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 1, consultest.Options{})
	cfg := settings(c)
	cfg.Addresses = []string{"127.0.0.1:1", "nowhere.invalid:8500", c.Servers[0].Address}
	s := openStore(t, cfg)
	at := mustApply(t, s, store.Set("k", []byte("1")))
	if pair, err := openStore(t, cfg).Get(within(t), "k"); err != nil || pair.Index != at {
		t.Errorf("Get: %+v, %v", pair, err)
	}
	if pairs, _, err := openStore(t, cfg).List(within(t), "k", at-1); err != nil || len(pairs) != 1 {
		t.Errorf("List after an index: %v, %v", pairs, err)
	}
	mustLease(t, openStore(t, cfg), time.Minute, store.Release)
}

func TestFailover_mostServersGone(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 3, consultest.Options{})
	cfg := quick(settings(c))
	cfg.Call = 3 * time.Second
	s := openStore(t, cfg)
	at, err := s.Apply(within(t), store.Set("k", []byte("1")))
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, _, err := s.List(t.Context(), "k", at)
		waiting <- err
	}()
	c.Servers[1].Kill(t)
	c.Servers[2].Kill(t)
	_, err = s.Apply(within(t), store.Set("k", []byte("2")))
	wantError(t, "Apply", err, store.ErrUnavailable)
	_, err = s.Get(within(t), "k")
	wantError(t, "Get", err, store.ErrUnavailable)
	_, _, err = s.List(within(t), "", 0)
	wantError(t, "List", err, consul.ErrNoLeader, "more than half")
	select {
	case err := <-waiting:
		wantError(t, "the wait", err, store.ErrUnavailable)
	case <-within(t).Done():
		t.Fatal("the wait hangs at a server without a leader")
	}
	c.Servers[1].Start(t)
	if pair, err := s.Get(within(t), "k"); err != nil {
		t.Errorf("Get with a majority again: %+v, %v", pair, err)
	}
}
