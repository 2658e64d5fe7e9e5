// Package iperf sends TCP streams with the machine's own iperf3, from where its caller
// says. It knows nothing of what the streams go over.
package iperf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/ournet/ournet/test/lab"
)

// Stream is what became of one.
type Stream struct {
	// Gbit is what the receiver got, in Gbit/s.
	Gbit float64
	// CPU is what both ends used of the processor for it, with the kernel's part: the
	// seconds for each Gbit. Whatever else the machine does changes it less.
	CPU float64
}

// report is what iperf3 says with --json, as far as it matters here.
type report struct {
	Error string
	End   struct {
		Received struct {
			BitsPerSecond float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		CPU struct { // in percent
			Sender   float64 `json:"host_total"`
			Receiver float64 `json:"remote_total"`
		} `json:"cpu_utilization_percent"`
	}
}

// Send sends a stream of so many seconds to the server at an address. run runs a program
// where it shall come from and returns its output; what is for an error's text.
func Send(ctx context.Context, what, to string, seconds int, run func(argv ...string) (string, error)) (Stream, error) {
	var r report
	err := lab.Poll(ctx, "a stream on "+what, func() error {
		out, err := run("iperf3", "--client", to, "--time", strconv.Itoa(seconds), "--json")
		if err != nil {
			return err
		}
		r = report{} // without what the time before left there
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			return fmt.Errorf("read iperf3's report: %w", err)
		}
		if r.Error != "" { // the server may not listen yet
			return errors.New(r.Error)
		}
		return nil
	})
	if err != nil {
		return Stream{}, err
	}
	got := Stream{Gbit: r.End.Received.BitsPerSecond / 1e9}
	got.CPU = (r.End.CPU.Sender + r.End.CPU.Receiver) / 100 / got.Gbit
	return got, nil
}

// Serve runs a server, which start starts in the background, and returns what ends it.
func Serve(start func(argv ...string) (*lab.Running, error)) (stop func() error, err error) {
	server, err := start("iperf3", "--server")
	if err != nil {
		return nil, err
	}
	return func() error {
		// It tells of the signal that it is asked to end with as of an error.
		if out, err := server.Stop(); err != nil && !strings.Contains(out, "terminated") {
			return err
		}
		return nil
	}, nil
}
