// Names measures how containers' queries for names are answered:
//
//   - by ournet, through 127.0.0.11 in a container on its network,
//   - by the engine, through 127.0.0.11 in a container on a network of its own bridge,
//   - by CoreDNS with its plugin hosts, built from its module,
//   - by a bare UDP echo in Go, which is what one packet for each system call can reach
//     at most,
//
// the latter two in containers without a network, behind a rule as the others have, and
// how soon the name of a container that is started resolves on its host. All have the
// same names, and are asked by dnsperf on the same two cores.
//
// How to read what it writes is in docs/bench.md. It needs root and what `make bench`
// makes before: an engine, the plugin, CoreDNS, Debian's package dnsperf.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/ournet/ournet/test/bench/page"
	"github.com/ournet/ournet/test/bench/stats"
	"github.com/ournet/ournet/test/lab"
)

// settings are how much is measured.
type settings struct {
	echo     string // address, in the process that is the echo
	plugin   string // folder of the managed plugin
	coredns  string
	rounds   int
	length   time.Duration
	clients  int
	arrivals int
	folder   string
	page     string
}

func main() {
	set, err := parse(os.Args[1:])
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		if set.echo != "" {
			err = echo(ctx, set.echo)
		} else {
			err = bench(ctx, set)
		}
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "names:", err)
		os.Exit(1)
	}
}

func parse(args []string) (settings, error) {
	build, err := lab.BuildDir()
	if err != nil {
		return settings{}, err
	}
	cache, err := lab.CacheDir()
	if err != nil {
		return settings{}, err
	}
	set := settings{}
	flags := flag.NewFlagSet("names", flag.ExitOnError)
	flags.StringVar(&set.echo, "echo", "", "be the echo at an `address`; for its own use")
	flags.StringVar(&set.plugin, "plugin", filepath.Join(build, "plugin-"+runtime.GOARCH), "`folder` of the built plugin")
	flags.StringVar(&set.coredns, "coredns", filepath.Join(cache, "bin", "coredns"), "`file` of the built CoreDNS")
	flags.IntVar(&set.rounds, "rounds", 20, "how many times each is measured; 0 for never")
	flags.DurationVar(&set.length, "length", time.Second, "how long each time, at full load and at half of it")
	flags.IntVar(&set.clients, "clients", 10, "how many sockets ask at once")
	flags.IntVar(&set.arrivals, "arrivals", 50, "how many containers are waited for on each network; 0 for none")
	flags.StringVar(&set.folder, "out", filepath.Join(build, "bench"), "`folder` for names.json and names.md")
	flags.StringVar(&set.page, "page", "", "`file` that gets a copy of names.md")
	if err := flags.Parse(args); err != nil {
		return settings{}, err
	}
	if set.rounds < 0 || set.length < time.Second || set.clients < 1 || set.arrivals < 0 {
		return settings{}, errors.New("want at least 1 second and 1 client, and no other number below 0")
	}
	return set, nil
}

func bench(ctx context.Context, set settings) (err error) {
	r := results{Clients: set.clients, Seconds: set.length.Seconds(), Names: names}
	if r.Machine, err = stats.DescribeMachine(); err != nil {
		return err
	}
	page.Progress("a host with the plugin, and %d names on each network", names)
	b, err := newBed(ctx, set)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.remove(ctx)) }()
	r.Engine = b.version
	page.Progress("%d rounds of queries", set.rounds)
	if err := b.measureQueries(ctx, set, &r); err != nil {
		return err
	}
	page.Progress("%d arrivals on each network", set.arrivals)
	if r.Arrival, err = b.measureArrivals(ctx, set.arrivals); err != nil {
		return err
	}
	end, err := stats.DescribeMachine()
	if err != nil {
		return err
	}
	r.LoadAtEnd = end.Load
	if err := page.Write(set.folder, "names", set.page, r, r.markdown()); err != nil {
		return err
	}
	fmt.Print(r.markdown())
	return nil
}
