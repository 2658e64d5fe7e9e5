package netnstest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience bounds a wait for the kernel; reaching it is a failure.
const patience = 20 * time.Second

// AwaitClosed waits until nobody has these ports. A program that another test is just
// starting has a copy of each socket until it runs (fork(2)), and a little longer: whoever
// starts it goes on before the kernel has closed them.
func (ns *Namespace) AwaitClosed(t testing.TB, ports ...uint16) {
	t.Helper()
	for begin := time.Now(); ; <-time.After(time.Millisecond) {
		open := ns.Sockets(t)
		if !slices.ContainsFunc(ports, func(p uint16) bool { return strings.Contains(open, fmt.Sprintf(":%04X ", p)) }) {
			return
		}
		if time.Since(begin) > patience {
			t.Fatalf("one of the ports %d is still open:\n%s", ports, open)
		}
	}
}

// Sockets are the open ones of IPv4, a line each with the protocol, the local address in
// hexadecimal and the state. One that waits for the last packet of a peer is closed.
func (ns *Namespace) Sockets(t testing.TB) string {
	t.Helper()
	var out strings.Builder
	ns.Run(t, func() error {
		for _, name := range []string{"udp", "tcp"} {
			raw, err := os.ReadFile("/proc/thread-self/net/" + name)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(raw)) {
				if f := strings.Fields(line); len(f) > 3 && f[3] != "06" {
					fmt.Fprintln(&out, name, f[1], f[3])
				}
			}
		}
		return nil
	})
	return out.String()
}
