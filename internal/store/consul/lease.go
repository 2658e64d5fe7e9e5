package consul

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/ournet/ournet/internal/store"
)

// lease is a session. It has no health checks: with those it would end with the
// server that it was made at, and not with us.
type lease struct {
	s   *Store
	id  string
	ttl time.Duration

	stop context.CancelFunc // ends the renewing
	once sync.Once
	done chan struct{}
}

// Lease implements [store.Leaser]. Consul takes no TTL below 10 s, and ends a
// session up to twice its TTL after the last renewal.
func (s *Store) Lease(ctx context.Context, opts store.LeaseOptions) (store.Lease, error) {
	if err := errors.Join(ctx.Err(), opts.Check()); err != nil {
		return nil, fmt.Errorf("take a lease: %w", err)
	}
	// The client's own way leaves a lock delay of 0 out, and Consul then takes 15 s.
	// That delay is to keep two holders apart whose clocks differ; our Done does.
	session := map[string]any{
		"Name":       opts.Name,
		"TTL":        opts.TTL.String(),
		"Behavior":   consulapi.SessionBehaviorRelease,
		"LockDelay":  "0s",
		"NodeChecks": []string{},
	}
	if opts.OnLoss == store.Remove {
		session["Behavior"] = consulapi.SessionBehaviorDelete
	}
	sent := time.Now()
	var made struct{ ID string }
	err := s.servers.ask(ctx, anytime, func(ctx context.Context, c *consulapi.Client) error {
		sent = time.Now()
		_, err := c.Raw().Write("/v1/session/create", session, &made, s.write(ctx))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("take a lease: %w", err)
	}
	return s.adopt(ctx, made.ID, opts.TTL, sent)
}

// adopt begins to renew a session that was made at or after sent.
func (s *Store) adopt(ctx context.Context, id string, ttl time.Duration, sent time.Time) (store.Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("take a lease: %w", store.ErrClosed)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &lease{s: s, id: id, ttl: ttl, stop: stop, done: make(chan struct{})}
	s.leases[id] = l
	s.keep.Go(func() {
		l.renew(ctx, sent)
		s.mu.Lock()
		delete(s.leases, id)
		s.mu.Unlock()
		stop()
		l.lost()
	})
	return l, nil
}

// Revoke implements [store.Leaser].
func (s *Store) Revoke(ctx context.Context, id string) error {
	err := s.servers.ask(ctx, anytime, func(ctx context.Context, c *consulapi.Client) error {
		_, err := c.Session().Destroy(id, s.write(ctx))
		return err
	})
	if err != nil {
		return fmt.Errorf("end lease %s: %w", id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.leases[id]; ok {
		l.stop()
	}
	return nil
}

func (s *Store) write(ctx context.Context) *consulapi.WriteOptions {
	opts := &consulapi.WriteOptions{Token: s.token.get()}
	return opts.WithContext(ctx)
}

// ID implements [store.Lease].
func (l *lease) ID() string { return l.id }

// Done implements [store.Lease].
func (l *lease) Done() <-chan struct{} { return l.done }

// End implements [store.Lease].
func (l *lease) End(ctx context.Context) error {
	if err := l.s.Revoke(ctx, l.id); err != nil {
		return err
	}
	l.stop()
	l.lost()
	return nil
}

func (l *lease) lost() { l.once.Do(func() { close(l.done) }) }

// renew keeps the session alive until ctx ends, it is gone, or Consul could not be
// asked for its TTL, after which it may be gone. The time counts from before a
// request was sent: Consul counts from some time after that.
func (l *lease) renew(ctx context.Context, sent time.Time) {
	for failures := 0; ; {
		deadline := sent.Add(l.ttl)
		// Three tries fit in the TTL. After a failure it is tried sooner.
		next := l.ttl/3 - rand.N(l.ttl/10+1) //nolint:gosec // it spreads load
		if failures > 0 {
			next = min(next, firstPause<<min(failures, 10))
		}
		timer := time.NewTimer(min(next, time.Until(deadline)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		now := time.Now()
		if !now.Before(deadline) {
			return
		}
		switch at, err := l.renewOnce(ctx, deadline); {
		case err == nil:
			sent, failures = at, 0
		case errors.Is(err, store.ErrLeaseLost):
			return
		default:
			failures++
		}
	}
}

// renewOnce returns when the renewal that was answered was sent.
func (l *lease) renewOnce(ctx context.Context, deadline time.Time) (time.Time, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	var sent time.Time
	err := l.s.servers.ask(ctx, anytime, func(ctx context.Context, c *consulapi.Client) error {
		sent = time.Now()
		var entries []*consulapi.SessionEntry
		_, err := c.Raw().Write("/v1/session/renew/"+l.id, nil, &entries, l.s.write(ctx))
		var status consulapi.StatusError
		if errors.As(err, &status) && status.Code == http.StatusNotFound {
			return fmt.Errorf("session %s: %w", l.id, store.ErrLeaseLost)
		}
		return err
	})
	return sent, err
}
