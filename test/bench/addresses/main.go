// Addresses has simulated hosts allocate and free addresses of one pool, with their
// address managers, store files and a real Consul, while hosts crash and begin anew. It
// looks that no address is given twice and none is lost, and measures how many are
// allocated and freed in a second and how long an allocation takes, beside a single
// bitmap that is changed by compare-and-swap in the same Consul: how libnetwork kept
// the addresses of its cluster.
//
//	go run ./test/bench/addresses -n 1000000
//
// It needs the Consul that `make consul` builds. Hosts flush their store files at each
// allocation, as the plugin does, and Consul its own: all of that is in memory unless -dir
// says otherwise, since eight hosts have eight disks and these would share one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/consultest"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/consul"
)

type options struct {
	load

	consul string
	box    time.Duration
}

func main() {
	var o options
	cache := os.Getenv("OURNET_CACHE")
	if cache == "" {
		cache = ".cache"
	}
	flag.IntVar(&o.n, "n", 1_000_000, "how many addresses are allocated and freed")
	flag.IntVar(&o.calm, "calm", 50_000, "how many after that, a quarter as fast")
	flag.IntVar(&o.hosts, "hosts", 8, "how many hosts do so")
	flag.IntVar(&o.workers, "workers", 4, "how many workers each host has")
	flag.IntVar(&o.hold, "hold", 16, "how many addresses a worker has at a time, at most")
	flag.IntVar(&o.crashes, "crashes", 50, "how many hosts crash meanwhile")
	flag.Uint64Var(&o.seed, "seed", 1, "what the workers' choices follow from")
	flag.StringVar(&o.consul, "consul", filepath.Join(cache, "bin", "consul"), "Consul")
	flag.DurationVar(&o.box, "baseline", 15*time.Second, "how long the baseline is measured")
	flag.StringVar(&o.dir, "dir", "/dev/shm", "folder for the store files and Consul's")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "addresses:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp(o.dir, "ournet-addresses")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o.dir = dir
	o.subnet = netip.MustParsePrefix("10.1.0.0/16")
	log := logrus.New()
	log.SetOutput(os.Stderr)
	log.SetLevel(logrus.ErrorLevel)
	o.log = log
	cluster, err := consultest.Open(ctx, consultest.Options{
		Binary: o.consul, Dir: dir, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{127, byte(1 + rand.N(254)), 8, 5})},
	})
	if cluster != nil {
		defer func() { err = errors.Join(err, cluster.Close()) }()
	}
	if err != nil {
		return err
	}
	stores := newStores(log, cluster.Addresses())
	defer func() { err = errors.Join(err, stores.close()) }()
	one, err := bitmap(ctx, o.hosts, o.workers, o.box, stores.open)
	if err != nil {
		return fmt.Errorf("baseline: %w", err)
	}
	report("one bitmap by CAS", one)
	ours, err := run(ctx, o.load, stores.open)
	if err != nil {
		return err
	}
	report("ournet", ours)
	fmt.Printf("ournet to one bitmap: %.0f times the allocations a second; %d addresses given twice in %d, over %d crashes\n",
		ours.perSecond()/one.perSecond(), len(ours.twice), ours.n, ours.crashes)
	if len(ours.twice) > 0 {
		return errors.New(ours.twice[0])
	}
	return nil
}

func report(what string, o outcome) {
	fmt.Printf("%s: %d allocated and freed in %.1f s, %.0f/s; an allocation took %s\n",
		what, o.n, o.took.Seconds(), o.perSecond(), spread(o.times))
	if len(o.calm) > 0 {
		fmt.Printf("%s, at a quarter of that pace: an allocation took %s\n", what, spread(o.calm))
	}
}

func spread(times []time.Duration) string {
	return fmt.Sprintf("p50 %v, p99 %v, at most %v", percentile(times, 50).Round(time.Microsecond),
		percentile(times, 99).Round(time.Microsecond), percentile(times, 100).Round(time.Microsecond))
}

// stores are the hosts' views of one Consul, each with connections of its own.
type stores struct {
	log       logrus.FieldLogger
	addresses []string
	all       []*consul.Store
}

func newStores(log logrus.FieldLogger, addresses []string) *stores {
	return &stores{log: log, addresses: addresses}
}

// open has the form that the hosts take their stores in.
func (s *stores) open(string) (store.KV, error) {
	cfg := consul.Defaults()
	cfg.Addresses = s.addresses
	kv, err := consul.New(s.log, cfg)
	if err != nil {
		return nil, err
	}
	s.all = append(s.all, kv)
	return kv, nil
}

func (s *stores) close() error {
	var errs []error
	for _, kv := range s.all {
		errs = append(errs, kv.Close())
	}
	return errors.Join(errs...)
}
