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

	"github.com/ournet/ournet/test/lab"
)

// settings are how much is measured.
type settings struct {
	engines   []lab.Engine
	plugin    string // folder of the managed plugin
	rounds    int
	endpoints int // for the plugin's memory
	streams   int // for the throughput
	folder    string
	page      string
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
	flags.StringVar(&set.folder, "out", filepath.Join(build, "bench"), "`folder` for results.json and results.md")
	flags.StringVar(&set.page, "page", "", "`file` that gets a copy of results.md")
	if err := flags.Parse(args); err != nil {
		return settings{}, err
	}
	if set.rounds < 1 || set.endpoints < 0 || set.streams < 0 {
		return settings{}, fmt.Errorf("rounds=%d, endpoints=%d, streams=%d: want at least 1, 0, 0", set.rounds, set.endpoints, set.streams)
	}
	for e := range strings.SplitSeq(*engines, ",") {
		set.engines = append(set.engines, lab.Engine(e))
	}
	return set, nil
}

// bench measures one engine after the other: two at once would share the cores.
func bench(ctx context.Context, set settings) error {
	on, err := describeMachine()
	if err != nil {
		return err
	}
	all := results{Machine: on, Rounds: set.rounds}
	for _, e := range set.engines {
		r, err := benchEngine(ctx, set, e)
		if err != nil {
			return fmt.Errorf("engine %s: %w", e, err)
		}
		all.Engines = append(all.Engines, r)
		// Now, and not at the end: ten minutes may be interrupted.
		if err := all.write(set.folder, set.page); err != nil {
			return err
		}
	}
	fmt.Print(all.markdown())
	return nil
}

// progress tells whoever waits what is being measured.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "    "+format+"\n", args...) }
