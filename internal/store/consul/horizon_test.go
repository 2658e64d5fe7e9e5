package consul_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/internal/consultest"
	"github.com/ournet/ournet/internal/store"
)

// laggard is in front of Consul and makes of its leader one that is behind: it answers
// consistent reads with what it answered before.
type laggard struct {
	consul http.Handler

	mu     sync.Mutex // guards all below
	before map[string]*httptest.ResponseRecorder
	missed int // how many reads of each kind are still answered so
}

func (l *laggard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || !r.URL.Query().Has("consistent") {
		l.consul.ServeHTTP(w, r)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	answer := l.before[r.URL.Path]
	if answer == nil || l.missed == 0 {
		answer = httptest.NewRecorder()
		l.consul.ServeHTTP(answer, r)
	} else {
		l.missed--
	}
	l.before[r.URL.Path] = answer
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) // who hung up wants no answer
}

func (l *laggard) miss(reads int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.missed = reads
}

func TestStore_readsWaitForALeaderThatIsBehind(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 1, consultest.Options{})
	target := &url.URL{Scheme: "http", Host: c.Servers[0].Address}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: &http.Transport{}}
	defer proxy.Transport.(*http.Transport).CloseIdleConnections() //nolint:errcheck,forcetypeassert // it was just made so
	l := &laggard{consul: proxy, before: make(map[string]*httptest.ResponseRecorder)}
	front := httptest.NewServer(l)
	defer front.Close()
	cfg := settings(c)
	writer := openStore(t, cfg)
	cfg.Addresses = []string{strings.TrimPrefix(front.URL, "http://")}
	reader := openStore(t, cfg)

	// The first round has what the others are answered with.
	for round, missed := range []int{0, 1, 2, 4} {
		value := strconv.Itoa(round)
		old := mustApply(t, writer, store.Set("news/of", []byte("old")))
		mustApply(t, writer, store.Set("get", []byte(value)), store.Set("list/of", []byte(value)))
		fresh := mustApply(t, writer, store.Set("news/of", []byte("new")))
		if _, _, err := reader.List(within(t), "news/", old); err != nil {
			t.Fatal(err)
		}
		l.miss(missed)
		if pair, err := reader.Get(within(t), "get"); err != nil || string(pair.Value) != value {
			t.Errorf("Get by a leader that is behind for %d reads: %q, %v; want %q", missed, pair.Value, err, value)
		}
		mustApply(t, writer, store.Set("news/of", []byte("newer")))
		if _, _, err := reader.List(within(t), "news/", fresh); err != nil {
			t.Fatal(err)
		}
		l.miss(missed)
		if pairs, _, err := reader.List(within(t), "list/", 0); err != nil || len(pairs) != 1 || string(pairs[0].Value) != value {
			t.Errorf("List by a leader that is behind for %d reads: %v, %v; want %q", missed, pairs, err, value)
		}
	}
}

// What the leader's being behind looks like where nobody makes it so: servers with much
// to do apply it at different times.
func TestStore_readsHaveWhatAWaitHasTold(t *testing.T) {
	t.Parallel()
	const rounds = 500
	c := consultest.Start(t, 3, consultest.Options{Steady: true})
	leader := c.Leader(t)
	cfg := settings(c)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	readers, others := errgroup.Group{}, errgroup.Group{}
	for i, s := range c.Servers {
		if s == leader {
			continue
		}
		own := cfg
		own.Addresses = slices.Concat(cfg.Addresses[i:], cfg.Addresses[:i])
		reader := openStore(t, own)
		readers.Go(func() error { return readWhatIsTold(ctx, reader, rounds) })
	}
	for i := range 6 {
		other := openStore(t, cfg)
		others.Go(func() error {
			for ctx.Err() == nil {
				key := fmt.Sprintf("other/%d", i)
				if _, err := other.Apply(ctx, store.Set(key, make([]byte, 100))); err != nil && ctx.Err() == nil {
					return err
				}
			}
			return nil
		})
	}
	writer := openStore(t, cfg)
	for i := range rounds {
		value := []byte(strconv.Itoa(i + 1))
		mustApply(t, writer, store.Set("value", value), store.Set("news/of", value))
	}
	err := readers.Wait()
	stop()
	if err := errors.Join(err, others.Wait()); err != nil {
		t.Error(err)
	}
}

// readWhatIsTold reads a value each time that news of it come, until the last.
func readWhatIsTold(ctx context.Context, kv store.KV, last int) error {
	number := func(p store.Pair) int {
		n, err := strconv.Atoi(string(p.Value))
		if err != nil {
			return -1
		}
		return n
	}
	var after store.Index
	for told := 0; told < last; {
		pairs, index, err := kv.List(ctx, "news/", after)
		if err != nil {
			return err
		}
		if after = index; len(pairs) == 0 {
			continue
		}
		told = number(pairs[0])
		pair, err := kv.Get(ctx, "value")
		if err != nil {
			return err
		}
		if have := number(pair); have < told {
			return fmt.Errorf("a wait told of %d, and then it was %d", told, have)
		}
	}
	return nil
}
