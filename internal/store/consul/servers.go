package consul

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/backoff"
	"github.com/ournet/ournet/internal/store"
)

// How often may be asked what an answer was lost of.
const (
	// anytime is for what may be done twice.
	anytime = iota
	// once is for writes: when it is not known whether one was done, nobody else
	// is asked.
	once
)

// The first and the longest pause between two rounds over all servers; each pause
// is a random part of it, so that the hosts of a cluster do not ask in step.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = time.Second
)

// servers are Consul's addresses. One of them is asked until it fails, then the next.
type servers struct {
	log  logrus.FieldLogger
	cfg  Config
	http *http.Client
	list []*server

	mu      sync.Mutex // guards current
	current int
}

// server is one address.
type server struct {
	address string
	client  *consulapi.Client
	heard   atomic.Int64 // when it last answered, in nanoseconds since 1970
}

// asking is one question to one server.
type asking func(ctx context.Context, c *consulapi.Client) error

func newServers(log logrus.FieldLogger, cfg Config) (*servers, error) {
	transport := &http.Transport{
		DialContext: (&net.Dialer{Timeout: cfg.Attempt, KeepAlive: 15 * time.Second}).DialContext,
		// Consul lets an address have 200 connections (http_max_conns_per_client).
		MaxConnsPerHost:     128,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: cfg.Attempt,
	}
	scheme := "http"
	if cfg.HTTPS {
		scheme = "https"
		var err error
		transport.TLSClientConfig, err = consulapi.SetupTLSConfig(&consulapi.TLSConfig{
			Address: cfg.ServerName, CAFile: cfg.CAFile, CAPath: cfg.CAPath,
			CertFile: cfg.CertFile, KeyFile: cfg.KeyFile, InsecureSkipVerify: cfg.SkipVerify,
		})
		if err != nil {
			return nil, fmt.Errorf("%w: %w: check kv.cacertfile, kv.certfile and kv.keyfile", ErrCertificate, err)
		}
	}
	v := &servers{log: log, cfg: cfg, http: &http.Client{Transport: transport}}
	for _, address := range cfg.Addresses {
		conf := &consulapi.Config{Address: address, Scheme: scheme, HttpClient: v.http, Transport: transport}
		if cfg.User != "" {
			conf.HttpAuth = &consulapi.HttpBasicAuth{Username: cfg.User, Password: cfg.Password}
		}
		client, err := consulapi.NewClient(conf)
		if err != nil {
			return nil, fmt.Errorf("client of %s: %w", address, err)
		}
		v.list = append(v.list, &server{address: address, client: client})
	}
	return v, nil
}

func (v *servers) close() { v.http.CloseIdleConnections() }

// ask puts a question to the server that works, and to the others in turn if it
// fails, for as long as cfg.Call. It gives up at once when all of them refuse a
// connection; while the servers may be electing a leader it goes on.
func (v *servers) ask(ctx context.Context, when int, f asking) error {
	bounded, cancel := context.WithTimeoutCause(ctx, v.cfg.Call, errSilent)
	defer cancel()
	between := backoff.Backoff{First: firstPause, Most: maxPause}
	var why error // of all that was said, what tells most
	for round := 0; ; round++ {
		hope := false
		for range v.list {
			s := v.pick()
			last := v.attempt(bounded, s, when, f)
			away := errors.Is(last, store.ErrUnavailable)
			if away && ctx.Err() == nil {
				v.fail(s, last)
			}
			if when == once && maybeDone(last) {
				last = fmt.Errorf("%w: %w", store.ErrUncertain, last)
				return v.ended(ctx, last)
			}
			if !away {
				return v.ended(ctx, last)
			}
			if !errors.Is(why, ErrNoLeader) {
				why = last
			}
			hope = hope || errors.Is(last, ErrNoLeader) || errors.Is(last, errSilent)
			if bounded.Err() != nil {
				return v.ended(ctx, why)
			}
		}
		if !hope || !between.Wait(bounded, round) {
			return v.ended(ctx, why)
		}
	}
}

// ended adds to an error that the caller's own context ended, if so.
func (v *servers) ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// attempt asks one server. What may be done twice is given up soon; a write may
// take as long as a follower that has no leader holds it (rpc_hold_timeout, 7 s),
// unless the server turns out to be dead.
func (v *servers) attempt(ctx context.Context, s *server, when int, f asking) error {
	limit := v.cfg.Attempt
	if when == once {
		limit = v.cfg.Call * 4 / 5
	}
	bounded, cancel := context.WithTimeoutCause(ctx, limit, errSilent)
	defer cancel()
	if when == once {
		return v.watched(bounded, s, when, f)
	}
	err := v.explain(bounded, s.address, f(bounded, s.client))
	s.answered(err)
	if errors.Is(err, errSilent) && ctx.Err() == nil {
		// A server without a leader holds what it is asked, in the hope of one.
		if leader, lerr := v.leader(ctx, s); lerr == nil && leader == "" {
			return v.explain(ctx, s.address, errAlone)
		}
	}
	return err
}

// wait puts one question that takes long to the server that works.
func (v *servers) wait(ctx context.Context, f asking) error {
	// A server adds a random sixteenth (agent/consul/rpc.go, JitterFraction).
	limit := v.cfg.Wait + v.cfg.Wait/16 + v.cfg.Attempt
	bounded, cancel := context.WithTimeoutCause(ctx, limit, errSilent)
	defer cancel()
	s := v.pick()
	err := v.watched(bounded, s, anytime, f)
	if errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil {
		v.fail(s, err)
	}
	return err
}

// watched asks s while it is asked beside that, every cfg.Pulse, whether it lives: a
// process that hangs keeps its connections, so the kernel never tells of it.
func (v *servers) watched(ctx context.Context, s *server, when int, f asking) error {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cancel(v.pulse(ctx, s, when))
	}()
	err := v.explain(ctx, s.address, f(ctx, s.client))
	s.answered(err)
	cancel(nil)
	<-ended
	return err
}

// pulse returns when s is dead, and why, or when ctx ends. A wait leaves a server as
// well that stays without a leader: cut off from the others, it would answer out of
// what it has for ever. A write is left there, since it is done when there is one.
func (v *servers) pulse(ctx context.Context, s *server, when int) error {
	alone := 0
	for {
		timer := time.NewTimer(v.cfg.Pulse*3/4 + rand.N(v.cfg.Pulse/2)) //nolint:gosec // it spreads load
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		if time.Since(time.Unix(0, s.heard.Load())) < v.cfg.Pulse/2 {
			continue
		}
		leader, err := v.leader(ctx, s)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("%w to whether it lives: %w", errSilent, err)
		case leader != "" || when == once:
			alone = 0
		case alone > 0:
			return errAlone
		default:
			alone++
		}
	}
}

func (v *servers) leader(ctx context.Context, s *server) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, v.cfg.Attempt)
	defer cancel()
	opts := &consulapi.QueryOptions{}
	leader, err := s.client.Status().LeaderWithQueryOptions(opts.WithContext(ctx))
	s.answered(err)
	return leader, err
}

func (s *server) answered(err error) {
	if err == nil {
		s.heard.Store(time.Now().UnixNano())
	}
}

func (v *servers) pick() *server {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.list[v.current]
}

// fail moves on from s, unless someone else did already.
func (v *servers) fail(s *server, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.list[v.current] != s || len(v.list) == 1 {
		return
	}
	v.current = (v.current + 1) % len(v.list)
	v.log.WithFields(logrus.Fields{"from": s.address, "to": v.list[v.current].address, "err": err}).
		Debug("consul: ask the next server")
}
