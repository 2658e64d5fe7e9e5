package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/internal/store/consul"
	"github.com/ournet/ournet/internal/store/memstore"
	"github.com/ournet/ournet/test/bench/simulated"
)

// rest is how long is counted what hosts do without a change.
const rest = 10 * time.Second

// bed is hosts that share a Consul, each through a connection counter of its own.
type bed struct {
	consul  string
	changes int

	network cluster.NetworkID
	hosts   []*host
	have    int // endpoints
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// host is one simulated host.
type host struct {
	*cluster.Cluster

	store *consul.Store
	proxy *proxy
	news  *cluster.Changes
}

// result is what one change costs another host.
type result struct {
	received, sent, requests float64
	median                   time.Duration
	// cpu is what one change costs all hosts together, in this process.
	cpu time.Duration
	// grown is how long it took until all knew the endpoints that were announced
	// before, and grownCPU what that cost all hosts together.
	grown, grownCPU time.Duration
}

// start starts the hosts and lets them all join one network.
func (b *bed) start(ctx context.Context, hosts int) error {
	ctx, b.cancel = context.WithCancel(ctx)
	for n := range hosts {
		h, err := b.host(ctx, n)
		if err != nil {
			return err
		}
		b.hosts = append(b.hosts, h)
	}
	for n, h := range b.hosts {
		var err error
		if b.network, err = simulated.JoinNetwork(ctx, h.Cluster, n); err != nil {
			return err
		}
	}
	for _, h := range b.hosts {
		if err := h.until(ctx, func(v *cluster.View) bool { return len(v.Members(b.network)) == hosts && len(v.Hosts()) == hosts }); err != nil {
			return fmt.Errorf("wait for all hosts: %w", err)
		}
	}
	return nil
}

func (b *bed) host(ctx context.Context, n int) (*host, error) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	p, err := newProxy(ctx, netip.AddrFrom4([4]byte{127, 78, 0, byte(n + 1)}), b.consul)
	if err != nil {
		return nil, err
	}
	cfg := consul.Defaults()
	cfg.Addresses = []string{p.address()}
	s, err := consul.New(log, cfg)
	if err != nil {
		return nil, err
	}
	c, err := simulated.Open(ctx, log, memstore.New(), s, n)
	if err != nil {
		return nil, err
	}
	b.running.Go(func() {
		if err := c.Run(ctx); !errors.Is(err, context.Canceled) {
			fmt.Println("host ended:", err)
		}
	})
	return &host{Cluster: c, store: s, proxy: p, news: c.Changes()}, nil
}

// until waits until the host's view is as wanted.
func (h *host) until(ctx context.Context, wanted func(v *cluster.View) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for !wanted(h.View()) {
		if _, err := h.news.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// measure brings the number of endpoints to n, and then changes some one by one.
func (b *bed) measure(ctx context.Context, n int) (result, error) {
	all, err := b.grow(ctx, n)
	if err != nil {
		return result{}, err
	}
	idle, err := b.idle(ctx)
	if err != nil {
		return result{}, err
	}
	var times []time.Duration
	others := b.hosts[1:]
	before, start := b.count(), time.Now()
	worked, err := cpu()
	if err != nil {
		return result{}, err
	}
	for range b.changes {
		e := simulated.Endpoint(b.network, b.have+1)
		began := time.Now()
		if err := b.hosts[0].Announce(ctx, e); err != nil {
			return result{}, err
		}
		b.have++
		for _, h := range others {
			if err := h.until(ctx, b.complete); err != nil {
				return result{}, fmt.Errorf("wait for a change: %w", err)
			}
		}
		times = append(times, time.Since(began))
	}
	now, err := cpu()
	if err != nil {
		return result{}, err
	}
	all.cpu = (now - worked) / time.Duration(b.changes)
	// What the hosts do without a change is not its cost.
	cost := b.count().minus(before).minus(idle.times(time.Since(start).Seconds())).times(1 / float64(b.changes*len(others)))
	all.received, all.sent, all.requests = cost.received, cost.sent, cost.requests
	slices.Sort(times)
	all.median = times[len(times)/2]
	return all, nil
}

// cpu returns how long processors worked for this process so far.
func cpu() (time.Duration, error) {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return 0, fmt.Errorf("ask for the time of processors: %w", err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), nil
}

// grow announces endpoints, as many at each host, and returns what that took.
func (b *bed) grow(ctx context.Context, n int) (took result, err error) {
	byHost := simulated.Endpoints(b.network, n, len(b.hosts))
	// What earlier rounds added stays with the first host.
	for i := n + 1; i <= b.have; i++ {
		byHost[0] = append(byHost[0], simulated.Endpoint(b.network, i))
	}
	start := time.Now()
	worked, err := cpu()
	if err != nil {
		return took, err
	}
	for i, h := range b.hosts {
		if err := h.Sync(ctx, byHost[i]); err != nil {
			return took, err
		}
	}
	b.have = max(n, b.have)
	for i, h := range b.hosts {
		if err := h.until(ctx, b.complete); err != nil {
			return took, fmt.Errorf("host %d sees %d of %d endpoints: %w", i, len(h.View().Endpoints(b.network)), b.have, err)
		}
	}
	now, err := cpu()
	took.grown, took.grownCPU = time.Since(start), now-worked
	return took, err
}

// complete reports whether a view has all endpoints.
func (b *bed) complete(v *cluster.View) bool { return len(v.Endpoints(b.network)) == b.have }

// idle returns what passes in a second when nothing changes: signs of life.
func (b *bed) idle(ctx context.Context) (counts, error) {
	before := b.count()
	select {
	case <-time.After(rest):
	case <-ctx.Done():
		return counts{}, ctx.Err()
	}
	return b.count().minus(before).times(1 / rest.Seconds()), nil
}

// count is what all hosts but the first were sent and sent so far.
func (b *bed) count() counts {
	var all counts
	for _, h := range b.hosts[1:] {
		n := h.proxy.counts()
		all.received += n.received
		all.sent += n.sent
		all.requests += n.requests
	}
	return all
}

func (b *bed) close() {
	b.cancel()
	b.running.Wait()
	for _, h := range b.hosts {
		h.news.Close()
		if err := errors.Join(h.store.Close(), h.proxy.close()); err != nil {
			fmt.Println("close:", err)
		}
	}
}
