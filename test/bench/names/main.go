// Names measures how many queries a second the responder answers, beside a bare UDP
// echo written in Go, which is what one packet for each system call can reach at
// most. Both stand where the plugin's would: in a network namespace, behind the rule
// that leads 127.0.0.11 port 53 to them, asked by dnsperf on the same cores.
//
//	go run ./test/bench/names -dnsperf /usr/bin/dnsperf
//
// It needs root and Debian's packages dnsperf and iproute2. Rounds alternate, and
// the figure that says something is the ratio.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	role    string
	dnsperf string
	rounds  int
	length  time.Duration
	clients int
}

func main() {
	var o options
	flag.StringVar(&o.role, "role", "", "what this process is; for its own use")
	flag.StringVar(&o.dnsperf, "dnsperf", "/usr/bin/dnsperf", "the program that asks")
	flag.IntVar(&o.rounds, "rounds", 7, "how many times each is measured")
	flag.DurationVar(&o.length, "length", 3*time.Second, "how long each time")
	flag.IntVar(&o.clients, "clients", 10, "how many sockets ask at once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "names:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	switch o.role {
	case "":
		return inNamespace(ctx)
	case "bed":
		return measure(ctx, o)
	default:
		return serve(ctx, o.role)
	}
}

// inNamespace runs this program again, in a network namespace of its own.
func inNamespace(ctx context.Context) error {
	cmd := self(ctx, append([]string{"-role", "bed"}, os.Args[1:]...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	return cmd.Run()
}

func self(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd
}

// measure asks each server in turn and prints the medians.
func measure(ctx context.Context, o options) error {
	if out, err := exec.CommandContext(ctx, "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("set lo up: %w\n%s", err, out)
	}
	servers := []string{"echo", "ournet"}
	results := make(map[string][]sample)
	for round := range o.rounds {
		for i := range servers {
			name := servers[(i+round)%len(servers)]
			got, err := ask(ctx, o, name)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			fmt.Printf("round %d: %s %.0f queries/s, %.2f µs of CPU each\n", round+1, name, got.qps, got.cpu)
			results[name] = append(results[name], got)
		}
	}
	var qps, cpu []float64
	for i, echo := range results["echo"] {
		qps = append(qps, results["ournet"][i].qps/echo.qps)
		cpu = append(cpu, results["ournet"][i].cpu/echo.cpu)
	}
	fmt.Printf("ournet to echo, round by round: queries/s median %.2f, from %.2f to %.2f; CPU each median %.2f, from %.2f to %.2f\n",
		median(qps), slices.Min(qps), slices.Max(qps), median(cpu), slices.Min(cpu), slices.Max(cpu))
	return nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
