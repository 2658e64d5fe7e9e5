// Command bench measures ournet beside the engine's built-in bridge, on private
// hosts of this machine, and writes what it found as JSON and Markdown. How to read
// that is in docs/bench.md.
//
// The two that are compared take turns in an order drawn anew for each round, so
// that whatever else the machine does falls on both.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/ournet/ournet/test/bench/page"
	"github.com/ournet/ournet/test/bench/stats"
	"github.com/ournet/ournet/test/lab"
)

// settings are how much is measured.
type settings struct {
	engines   []lab.Engine
	plugin    string // folder of the managed plugin
	rounds    int
	endpoints int // for the plugin's memory
	streams   int // for the throughput
	tunnels   int // for that between two hosts
	scale     int // endpoints of the full host; 0 for none
	onlyScale bool
	// onlyTunnels leaves out all that needs an engine.
	onlyTunnels bool
	folder      string
	page        string
}

func main() {
	set, err := parse(os.Args[1:])
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		err = bench(ctx, set)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (settings, error) {
	build, err := lab.BuildDir()
	if err != nil {
		return settings{}, err
	}
	set := settings{}
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	engines := flags.String("engines", "20.10,29", "`engines` to measure, separated by commas")
	flags.StringVar(&set.plugin, "plugin", filepath.Join(build, "plugin-"+runtime.GOARCH), "`folder` of the built plugin")
	flags.IntVar(&set.rounds, "rounds", 16, "how often each command is measured on each network")
	flags.IntVar(&set.endpoints, "endpoints", 100, "how many endpoints the plugin's memory is measured with; 0 for none")
	flags.IntVar(&set.streams, "streams", 3, "how often the throughput is measured; 0 for never")
	flags.IntVar(&set.tunnels, "tunnels", 10, "how often the throughput of tunnels is measured; 0 for never")
	flags.IntVar(&set.scale, "scale", 1000, "how many endpoints the full host has; 0 for no full host")
	flags.BoolVar(&set.onlyScale, "only-scale", false, "measure the full host alone")
	flags.BoolVar(&set.onlyTunnels, "only-tunnels", false, "measure tunnels alone")
	flags.StringVar(&set.folder, "out", filepath.Join(build, "bench"), "`folder` for results.json and results.md")
	flags.StringVar(&set.page, "page", "", "`file` that gets a copy of results.md")
	if err := flags.Parse(args); err != nil {
		return settings{}, err
	}
	if set.rounds < 1 || set.endpoints < 0 || set.streams < 0 || set.scale < 0 || set.tunnels < 0 {
		return settings{}, fmt.Errorf("rounds=%d, endpoints=%d, streams=%d, tunnels=%d, scale=%d: want at least 1, 0, 0, 0, 0",
			set.rounds, set.endpoints, set.streams, set.tunnels, set.scale)
	}
	for e := range strings.SplitSeq(*engines, ",") {
		set.engines = append(set.engines, lab.Engine(e))
	}
	return set, nil
}

// bench measures one engine after the other: two at once would share the cores.
func bench(ctx context.Context, set settings) error {
	on, err := stats.DescribeMachine()
	if err != nil {
		return err
	}
	all := results{Machine: on, Rounds: set.rounds}
	for _, e := range set.engines {
		if set.onlyScale || set.onlyTunnels {
			break
		}
		r, err := benchEngine(ctx, set, e)
		if err != nil {
			return fmt.Errorf("engine %s: %w", e, err)
		}
		all.Engines = append(all.Engines, r)
		// Now, and not at the end: ten minutes may be interrupted.
		if err := page.Write(set.folder, "results", set.page, all, all.markdown()); err != nil {
			return err
		}
	}
	if !set.onlyScale {
		page.Progress("%d TCP streams between two hosts, by the overlay driver and by hand", set.tunnels)
		if all.Tunnels, err = measureTunnels(ctx, set.tunnels); err != nil {
			return fmt.Errorf("tunnels: %w", err)
		}
		if err := page.Write(set.folder, "results", set.page, all, all.markdown()); err != nil {
			return err
		}
	}
	if err := all.addScale(ctx, set); err != nil {
		return err
	}
	fmt.Print(all.markdown())
	return nil
}

// addScale measures full hosts of the newest engine, with each firewall backend that
// it has.
func (r *results) addScale(ctx context.Context, set settings) error {
	if set.scale == 0 || set.onlyTunnels {
		return nil
	}
	for _, e := range []lab.Engine{lab.Engine29, lab.Engine29NFT} {
		s, err := measureScale(ctx, set, e)
		if err != nil {
			return fmt.Errorf("engine %s: full host: %w", e, err)
		}
		r.Scale = append(r.Scale, s)
		if err := page.Write(set.folder, "results", set.page, r, r.markdown()); err != nil {
			return err
		}
	}
	return nil
}
