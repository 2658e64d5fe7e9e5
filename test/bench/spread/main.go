// Spread measures how soon a name that one host of a cluster announces resolves on all
// others, with more hosts than a machine has engines for. Each is simulated: its part
// in the cluster, its store file and its records of names with their responder are what
// the plugin has, and all share one real Consul; there is no engine, no container and
// no tunnel.
//
//	go run ./test/bench/spread
//	go run ./test/bench/spread -hosts 10
//
// Beside it stands what cannot be gone below: as many watchers as there are other
// hosts wait for one key of the same Consul by bare blocking queries, and somebody
// writes it.
//
// How to read what it writes is in docs/bench.md. It needs the Consul that `make consul`
// builds. Store files and Consul's are in memory unless -dir says otherwise: fifty hosts
// have fifty disks, and these would share one.
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

	"github.com/ournet/ournet/internal/consultest"
	"github.com/ournet/ournet/test/bench/page"
	"github.com/ournet/ournet/test/bench/stats"
	"github.com/ournet/ournet/test/lab"
)

// options are what the command line says.
type options struct {
	consul    string
	hosts     int
	endpoints int
	events    int
	dir       string
	folder    string
	page      string
}

// warmUps are events that are not counted.
const warmUps = 5

func main() {
	o, err := parse(os.Args[1:])
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = bench(ctx, o)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "spread:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	build, err := lab.BuildDir()
	if err != nil {
		return options{}, err
	}
	cache, err := lab.CacheDir()
	if err != nil {
		return options{}, err
	}
	var o options
	flags := flag.NewFlagSet("spread", flag.ExitOnError)
	flags.StringVar(&o.consul, "consul", filepath.Join(cache, "bin", "consul"), "`file` of the built Consul")
	flags.IntVar(&o.hosts, "hosts", 50, "how many hosts there are")
	flags.IntVar(&o.endpoints, "endpoints", 1000, "how many endpoints with names they have already")
	flags.IntVar(&o.events, "events", 300, "how many names are announced")
	flags.StringVar(&o.dir, "dir", "/dev/shm", "`folder` for the store files and Consul's")
	flags.StringVar(&o.folder, "out", filepath.Join(build, "bench"), "`folder` for spread.json and spread.md")
	flags.StringVar(&o.page, "page", "", "`file` that gets a copy of spread.md")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if o.hosts < 2 || o.hosts > 250 || o.endpoints < 0 || o.events < 1 {
		return options{}, errors.New("want 2 to 250 hosts, at least 1 event, and no number below 0")
	}
	return o, nil
}

func bench(ctx context.Context, o options) (err error) {
	if o.dir, err = os.MkdirTemp(o.dir, "ournet-spread-"); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	c, err := consultest.Open(ctx, consultest.Options{
		Binary: o.consul, Dir: o.dir, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{127, byte(1 + rand.N(254)), 8, 6})},
		// On a real cluster each host has an address of its own, and the limit to itself.
		Connections: 20 * o.hosts,
	})
	if c != nil {
		defer func() { err = errors.Join(err, c.Close()) }()
	}
	if err != nil {
		return err
	}
	r, err := measure(ctx, o, c.Addresses()[0])
	if err != nil {
		return err
	}
	if err := page.Write(o.folder, "spread", o.page, r, r.markdown()); err != nil {
		return err
	}
	fmt.Print(r.markdown())
	return nil
}

// measure has names announced, and in turn with each the bare key written.
func measure(ctx context.Context, o options, consul string) (r results, err error) {
	r = newResults(o)
	page.Progress("%d hosts with %d endpoints on one network", o.hosts, o.endpoints)
	b := &bed{consul: consul, dir: o.dir}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.start(ctx, o.hosts); err != nil {
		return r, err
	}
	if err := b.fill(ctx, o.endpoints); err != nil {
		return r, err
	}
	f, err := newFloor(ctx, consul, o.hosts-1)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	// What was done to get here is not the machine's usual load.
	if r.Machine, err = stats.DescribeMachine(); err != nil {
		return r, err
	}
	page.Progress("%d names", o.events)
	for event := range warmUps + o.events {
		bare, err := f.write(ctx)
		if err != nil {
			return r, err
		}
		names, err := b.announce(ctx, event)
		if err != nil {
			return r, err
		}
		if event >= warmUps {
			r.add(names, bare)
		}
	}
	end, err := stats.DescribeMachine()
	r.LoadAtEnd = end.Load
	return r, err
}
