package consul_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ournet/ournet/internal/consultest"
	"github.com/ournet/ournet/internal/store"
)

// lossy is in front of Consul and loses transactions, or their answers.
type lossy struct {
	consul         http.Handler
	request, reply atomic.Bool // what is lost
	txns           atomic.Int64
}

func (l *lossy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/txn" {
		l.consul.ServeHTTP(w, r)
		return
	}
	l.txns.Add(1)
	switch {
	case l.request.Load():
		panic(http.ErrAbortHandler) // the server closes the connection
	case l.reply.Load():
		l.consul.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	default:
		l.consul.ServeHTTP(w, r)
	}
}

func TestApply_whoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 1, consultest.Options{})
	target := &url.URL{Scheme: "http", Host: c.Servers[0].Address}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: &http.Transport{}}
	defer proxy.Transport.(*http.Transport).CloseIdleConnections() //nolint:errcheck,forcetypeassert // it was just made so
	l := &lossy{consul: proxy}
	front, second := httptest.NewServer(l), httptest.NewServer(l)
	defer front.Close()
	defer second.Close()
	cfg := settings(c)
	cfg.Addresses = []string{strings.TrimPrefix(front.URL, "http://"), strings.TrimPrefix(second.URL, "http://")}
	s := openStore(t, cfg)
	old := mustApply(t, s, store.Set("old", []byte("1")), store.Set("gone", nil))

	l.reply.Store(true)
	before := l.txns.Load()
	at, err := s.Apply(within(t), store.CAS("new", []byte("1"), 0), store.CAS("old", []byte("2"), old))
	if err != nil || at <= old {
		t.Errorf("a write that was done: index %d, %v", at, err)
	}
	if pair, err := s.Get(within(t), "new"); err != nil || pair.Index != at {
		t.Errorf("what it wrote: %+v, %v, want index %d", pair, err, at)
	}
	// Of a deletion nothing is left to know it by.
	_, err = s.Apply(within(t), store.Delete("gone"))
	wantError(t, "a deletion that was done", err, store.ErrUncertain)
	if _, err := s.Get(within(t), "gone"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what it deleted: %v", err)
	}
	l.reply.Store(false)
	l.request.Store(true)
	_, err = s.Apply(within(t), store.Set("old", []byte("3")))
	wantError(t, "a write that was not done", err, store.ErrUncertain)
	l.request.Store(false)
	if pair, err := s.Get(within(t), "old"); err != nil || string(pair.Value) != "2" {
		t.Errorf("what it did not write: %+v, %v", pair, err)
	}
	if sent := l.txns.Load() - before; sent != 3 {
		t.Errorf("three writes were sent %d times", sent)
	}
}
