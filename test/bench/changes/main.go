// Changes measures what one change of an endpoint costs every other host of a cluster:
// bytes that Consul sends it and requests that it makes, at some numbers of endpoints.
// What is counted is what goes over the connections to a real Consul, headers and all;
// and how long processors work for a change, for all hosts together. The last columns
// are of the announcing of all endpoints at once, by all hosts at the same time.
//
//	go run ./test/bench/changes
//
// It needs the Consul that `make consul` builds. The figure that says something is
// that the columns do not grow with the number of endpoints.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ournet/ournet/internal/consultest"
)

// options are what the command line says.
type options struct {
	binary  string
	hosts   int
	changes int
	counts  []int
}

func main() {
	var (
		o      options
		counts string
	)
	flag.StringVar(&o.binary, "consul", filepath.Join(".cache", "bin", "consul"), "Consul")
	flag.IntVar(&o.hosts, "hosts", 64, "how many hosts there are")
	flag.IntVar(&o.changes, "changes", 20, "how many changes are measured")
	flag.StringVar(&counts, "endpoints", "100,1000,10000", "how many endpoints there are, each in turn")
	flag.Parse()
	for text := range strings.SplitSeq(counts, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			fmt.Fprintln(os.Stderr, "changes: -endpoints:", err)
			os.Exit(2)
		}
		o.counts = append(o.counts, n)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "changes:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "ournet-changes-")
	if err != nil {
		return err
	}
	defer func() {
		if rerr := os.RemoveAll(dir); err == nil {
			err = rerr
		}
	}()
	c, err := consultest.Open(ctx, consultest.Options{Binary: o.binary, Dir: dir, Addresses: []netip.Addr{netip.MustParseAddr("127.77.64.1")}})
	if c != nil {
		defer func() {
			if cerr := c.Close(); err == nil {
				err = cerr
			}
		}()
	}
	if err != nil {
		return err
	}
	fmt.Printf("%d hosts, all on one network; for each other host and one change:\n\n", o.hosts)
	fmt.Printf("| endpoints | bytes received | bytes sent | requests | until all know, median | CPU of all hosts | all endpoints at once | CPU of all hosts |\n|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	b := bed{consul: c.Addresses()[0], changes: o.changes}
	defer b.close()
	if err := b.start(ctx, o.hosts); err != nil {
		return err
	}
	for _, n := range o.counts {
		r, err := b.measure(ctx, n)
		if err != nil {
			return err
		}
		fmt.Printf("| %d | %.0f | %.0f | %.1f | %s | %s | %s | %s |\n", n, r.received, r.sent, r.requests, r.median.Round(time.Millisecond), r.cpu.Round(time.Millisecond),
			r.grown.Round(time.Millisecond), r.grownCPU.Round(time.Millisecond))
	}
	return nil
}
