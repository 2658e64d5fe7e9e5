package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/ipam"
)

// load is what is asked of the hosts.
type load struct {
	hosts, workers int
	// hold is how many addresses a worker has at a time, at most.
	hold int
	// n is how many addresses are allocated and freed, in all.
	n int
	// calm is how many addresses are allocated and freed after that, a quarter as
	// fast: how long one takes is seen then, and not how long the others queue for the
	// processor.
	calm int
	// crashes is how often a host crashes and begins anew meanwhile.
	crashes int
	subnet  netip.Prefix
	dir     string
	seed    uint64
	log     logrus.FieldLogger
}

// outcome is what was seen.
type outcome struct {
	n       int
	crashes int
	took    time.Duration
	// times are how long the single allocations took, and calm those that were made
	// without haste.
	times, calm []time.Duration
	twice       []string
}

// perSecond returns how many addresses were allocated and freed in a second.
func (o outcome) perSecond() float64 { return float64(o.n) / o.took.Seconds() }

// percentile returns the time that so many in a hundred took at most.
func percentile(times []time.Duration, p float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return sorted[min(int(float64(len(sorted))*p/100), len(sorted)-1)]
}

// run has the hosts allocate and free addresses of one pool, each through its own
// view of the cluster store, and looks that nobody has one that another has, and that
// in the end none is missing.
func run(ctx context.Context, l load, shared func(host string) (store.KV, error)) (outcome, error) {
	c := newChecker()
	hosts := make([]*host, 0, l.hosts)
	for i := range l.hosts {
		name := fmt.Sprintf("host%d", i)
		kv, err := shared(name)
		if err != nil {
			return outcome{}, err
		}
		h, err := newHost(ctx, name, l.dir, kv, l.log, l.subnet)
		if err != nil {
			return outcome{}, err
		}
		hosts = append(hosts, h)
	}
	o, err := work(ctx, l, hosts, c, 0)
	if o.n, _ = c.result(); err == nil && l.calm > 0 {
		calm := l
		calm.n, calm.crashes = l.calm, 0
		var slow outcome
		slow, err = work(ctx, calm, hosts, c, time.Duration(4*float64(l.hosts*l.workers)/o.perSecond()*float64(time.Second)))
		o.calm = slow.times
	}
	if err == nil {
		err = missing(ctx, l, hosts)
	}
	if err == nil {
		err = leave(ctx, hosts, shared)
	}
	for _, h := range hosts {
		err = errors.Join(err, h.end())
	}
	_, o.twice = c.result()
	return o, err
}

// work is the load with its crashes. Each worker begins an allocation only when so
// much time has passed since the last.
func work(ctx context.Context, l load, hosts []*host, c *checker, pace time.Duration) (outcome, error) {
	var (
		left  atomic.Int64
		times = make([][]time.Duration, l.hosts*l.workers)
	)
	left.Store(int64(l.n))
	start := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for i, h := range hosts {
		for j := range l.workers {
			at := i*l.workers + j
			g.Go(func() error {
				w := worker{host: h, checker: c, name: fmt.Sprintf("worker%d", j), random: rand.New(rand.NewPCG(l.seed, uint64(at))), pace: pace, hold: l.hold}
				err := w.run(gctx, &left)
				times[at] = w.times
				return err
			})
		}
	}
	crashes := 0
	random := rand.New(rand.NewPCG(l.seed, 1<<32))
	g.Go(func() error {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for crashes < l.crashes {
			// As many as were asked for, spread over the work.
			if done := int64(l.n) - left.Load(); done >= int64(l.n)*int64(crashes+1)/int64(l.crashes+1) {
				if err := hosts[random.IntN(len(hosts))].crash(ctx); err != nil {
					return err
				}
				crashes++
				continue
			}
			select {
			case <-gctx.Done():
				return gctx.Err()
			case <-tick.C:
			}
		}
		return nil
	})
	err := g.Wait()
	return outcome{took: time.Since(start), crashes: crashes, times: slices.Concat(times...)}, err
}

// worker attaches and detaches endpoints on a host, one after the other.
type worker struct {
	host    *host
	checker *checker
	name    string
	random  *rand.Rand
	pace    time.Duration
	hold    int
	times   []time.Duration
	held    []attached
	count   int
}

type attached struct {
	addr     netip.Addr
	endpoint string
}

func (w *worker) run(ctx context.Context, left *atomic.Int64) error {
	wait := time.NewTicker(max(w.pace, 1))
	defer wait.Stop()
	for left.Add(-1) >= 0 {
		if w.pace > 0 {
			<-wait.C
		}
		if len(w.held) > 0 && (len(w.held) == w.hold || w.random.IntN(2) == 0) {
			if err := w.detach(ctx, w.random.IntN(len(w.held))); err != nil {
				return err
			}
		}
		w.count++
		endpoint := fmt.Sprintf("%s-%d", w.name, w.count)
		a, took, err := w.host.attach(ctx, w.checker, endpoint)
		switch {
		case errors.Is(err, errCrashed):
			// Whether it was given or not: the engine does not know of it.
			if a.IsValid() {
				w.checker.give(a)
			}
			left.Add(1)
			continue
		case errors.Is(err, ipam.ErrExhausted) && len(w.held) > 0:
			// Others have the rest, or do not answer because they crash.
			left.Add(1)
			if err := w.detach(ctx, 0); err != nil {
				return err
			}
			continue
		case err != nil:
			return fmt.Errorf("%s: %w", w.host.name, err)
		}
		w.times = append(w.times, took)
		w.held = append(w.held, attached{a, endpoint})
	}
	for len(w.held) > 0 {
		if err := w.detach(ctx, 0); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) detach(ctx context.Context, i int) error {
	at := w.held[i]
	w.held = slices.Delete(w.held, i, i+1)
	if err := w.host.detach(ctx, w.checker, at.addr, at.endpoint); err != nil {
		return fmt.Errorf("%s: %w", w.host.name, err)
	}
	return nil
}

// missing looks that no address of the pool is lost: leased to nobody, or with nobody.
// What crashes have left leased is reclaimed after a minute, so it may be leased yet.
func missing(ctx context.Context, l load, hosts []*host) error {
	leased := 0
	for _, h := range hosts {
		for _, p := range h.proc.manager.Pools() {
			leased += int(p.Used) - 1 // the gateway is everyone's
		}
	}
	// Every allocation that a crash cut off may have left one.
	if most := l.crashes * l.workers; leased > most {
		return fmt.Errorf("%d addresses are leased to nobody, and the crashes explain %d", leased, most)
	}
	return ctx.Err()
}

// leave has all hosts leave the pool, which has to vanish with the last of them.
func leave(ctx context.Context, hosts []*host, shared func(host string) (store.KV, error)) error {
	for _, h := range hosts {
		m := h.proc.manager
		if err := errors.Join(m.ReleasePool(ctx, h.pool), m.UnbindPool(ctx, h.pool, network)); err != nil {
			return err
		}
	}
	kv, err := shared("the one who looks")
	if err != nil {
		return err
	}
	for tries := 1; ; tries++ {
		pools, _, err := kv.List(ctx, store.ClusterPoolsPrefix(), 0)
		if err != nil {
			return err
		}
		shards, _, err := kv.List(ctx, store.ShardsPrefix(hosts[0].subnet()), 0)
		if err != nil {
			return err
		}
		if len(pools)+len(shards) == 0 {
			return nil
		}
		if tries == 20 || !store.Pause(ctx, tries) {
			return fmt.Errorf("%d pools and %d shards are left", len(pools), len(shards))
		}
	}
}

func (h *host) subnet() string { return strings.TrimPrefix(string(h.pool), ipam.SpaceCluster+"/") }
