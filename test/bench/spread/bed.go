package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/test/bench/simulated"
)

// patience bounds every wait; reaching it ends the run.
const patience = 5 * time.Minute

// bed is hosts that share a Consul and are on one network.
type bed struct {
	consul, dir string

	network cluster.NetworkID
	hosts   []*host
	failed  chan error
	cancel  context.CancelFunc
}

// start starts the hosts and lets them all join one network.
func (b *bed) start(ctx context.Context, hosts int) error {
	run, cancel := context.WithCancel(ctx)
	b.cancel, b.failed = cancel, make(chan error, 1)
	log := logrus.New()
	log.SetOutput(io.Discard)
	for n := range hosts {
		h, err := newHost(run, log, b.dir, b.consul, n, b.failed)
		b.hosts = append(b.hosts, h)
		if err != nil {
			return fmt.Errorf("host %d: %w", n, err)
		}
	}
	for n, h := range b.hosts {
		var err error
		if b.network, err = simulated.JoinNetwork(ctx, h.Cluster, n); err != nil {
			return err
		}
	}
	for _, h := range b.hosts {
		h.follow(run, b.network)
	}
	return nil
}

// fill gives the hosts endpoints, as many to each, and waits until all know of all.
func (b *bed) fill(ctx context.Context, endpoints int) error {
	all := simulated.Endpoints(b.network, endpoints, len(b.hosts))
	var g errgroup.Group
	for n, h := range b.hosts {
		g.Go(func() error { return h.Sync(ctx, all[n]) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for n, h := range b.hosts {
		for len(h.View().Endpoints(b.network)) < endpoints {
			select {
			case <-tick.C:
			case err := <-b.failed:
				return err
			case <-deadline:
				return fmt.Errorf("host %d knows %d of %d endpoints", n, len(h.View().Endpoints(b.network)), endpoints)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// announce has one host announce a name, another each time, and returns how long after
// that it resolves on each of the others. The name is taken back in the end.
func (b *bed) announce(ctx context.Context, event int) ([]time.Duration, error) {
	from := b.hosts[event%len(b.hosts)]
	e := simulated.Endpoint(b.network, 1<<20+event)
	times, err := b.until(ctx, from, e, false, func() error { return from.Announce(ctx, e) })
	if err != nil {
		return nil, fmt.Errorf("announce %s: %w", e.Name, err)
	}
	if _, err := b.until(ctx, from, e, true, func() error { return from.Withdraw(ctx, e.Network, e.ID) }); err != nil {
		return nil, fmt.Errorf("withdraw %s: %w", e.Name, err)
	}
	return times, nil
}

// until does something at a host, and returns how long after its beginning the name of
// an endpoint resolves on the others, or does so no more.
func (b *bed) until(ctx context.Context, from *host, e cluster.Endpoint, gone bool, do func() error) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found := make(chan time.Time, len(b.hosts))
	for _, h := range b.hosts {
		if h != from {
			h.awaited.Store(&wait{e.Name, e.Addrs[0], gone, found})
		}
	}
	began := time.Now()
	if err := do(); err != nil {
		return nil, err
	}
	times := make([]time.Duration, 0, len(b.hosts)-1)
	for len(times) < len(b.hosts)-1 {
		select {
		case at := <-found:
			times = append(times, at.Sub(began))
		case err := <-b.failed:
			return nil, err
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d hosts know: %w", len(times), len(b.hosts)-1, ctx.Err())
		}
	}
	return times, nil
}

func (b *bed) close() error {
	if b.cancel != nil {
		b.cancel()
	}
	var errs []error
	for _, h := range b.hosts {
		errs = append(errs, h.close())
	}
	return errors.Join(errs...)
}
