// Cluster measures ournet's networks of several hosts beside Swarm's attachable overlay,
// on the same three engines at the same time, and beside a bridge and a VXLAN device made
// by hand on the same hosts:
//
//   - TCP between containers on two hosts;
//   - the start and the end of a container;
//   - how long after its first instruction a container is reached from the two other
//     hosts, and its name resolves there.
//
// How to read what it writes is in docs/bench.md. It needs root and what `make bench`
// makes before: engines, Consul, the plugin.
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

	"github.com/ournet/ournet/test/bench/page"
	"github.com/ournet/ournet/test/bench/stats"
	"github.com/ournet/ournet/test/lab"
)

// settings are how much is measured.
type settings struct {
	engine   lab.Engine
	plugin   string // folder of the managed plugin
	streams  int
	seconds  int // of a stream
	rounds   int // of starts
	arrivals int
	folder   string
	page     string
}

func main() {
	set, err := parse(os.Args[1:])
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		err = bench(ctx, set)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func parse(args []string) (settings, error) {
	build, err := lab.BuildDir()
	if err != nil {
		return settings{}, err
	}
	set := settings{}
	flags := flag.NewFlagSet("cluster", flag.ExitOnError)
	flags.StringVar((*string)(&set.engine), "engine", string(lab.Engine29), "`engine` of the hosts: 29 or 20.10")
	flags.StringVar(&set.plugin, "plugin", filepath.Join(build, "plugin-"+runtime.GOARCH), "`folder` of the built plugin")
	flags.IntVar(&set.streams, "streams", 10, "how many TCP streams are sent on each network; 0 for none")
	flags.IntVar(&set.seconds, "seconds", 2, "how long each stream lasts")
	flags.IntVar(&set.rounds, "rounds", 16, "how often a container is started on each network of each of two hosts; 0 for never")
	flags.IntVar(&set.arrivals, "arrivals", 50, "how many containers the other hosts wait for on each network; 0 for none")
	flags.StringVar(&set.folder, "out", filepath.Join(build, "bench"), "`folder` for cluster.json and cluster.md")
	flags.StringVar(&set.page, "page", "", "`file` that gets a copy of cluster.md")
	if err := flags.Parse(args); err != nil {
		return settings{}, err
	}
	if set.streams < 0 || set.seconds < 1 || set.rounds < 0 || set.arrivals < 0 {
		return settings{}, errors.New("want at least 1 second, and no other number below 0")
	}
	return set, nil
}

func bench(ctx context.Context, set settings) (err error) {
	r := results{Engine: string(set.engine), Hosts: hosts, Seconds: set.seconds}
	if r.Machine, err = stats.DescribeMachine(); err != nil {
		return err
	}
	page.Progress("engine %s: %d hosts, Consul, the plugin, Swarm", set.engine, hosts)
	b, err := newBed(ctx, set)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.remove(ctx)) }()
	if r.Filtered, err = b.filtered(ctx); err != nil {
		return err
	}
	page.Progress("%d streams of %d s on each network", set.streams, set.seconds)
	if r.Throughput, err = b.measureThroughput(ctx, set.streams, set.seconds); err != nil {
		return err
	}
	page.Progress("%d rounds of starts", set.rounds)
	if r.Attach, err = b.measureAttach(ctx, set.rounds); err != nil {
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
	if err := page.Write(set.folder, "cluster", set.page, r, r.markdown()); err != nil {
		return err
	}
	fmt.Print(r.markdown())
	return nil
}
