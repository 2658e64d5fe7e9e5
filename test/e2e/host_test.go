package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/test/lab"
)

// host is a lab's host within one test: what fails ends the test.
type host struct {
	*lab.Host
	reporter

	lab *lab.Lab
	ctx context.Context //nolint:containedctx // a host lives exactly as long as its test
}

func newHost(t *testing.T, l *lab.Lab, lh *lab.Host) *host {
	t.Helper()
	before, err := lh.Logs()
	if err != nil {
		t.Fatal(err)
	}
	h := &host{Host: lh, reporter: reporter{t}, lab: l, ctx: t.Context()}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		if after, err := lh.Logs(); err == nil {
			t.Logf("the engine's log of this test:\n%s", strings.TrimPrefix(after, before))
		}
	})
	return h
}

// leaveClean removes all containers and networks after the test, and reports what
// the host then has more or less than now.
func (h *host) leaveClean() {
	h.Helper()
	before := h.settledState()
	h.Cleanup(func() {
		// The test's own context is over.
		h.ctx = context.WithoutCancel(h.ctx)
		h.removeAll()
		h.assertState(before, "after the test")
	})
}

func (h *host) removeAll() {
	h.Helper()
	if ids := strings.Fields(h.run("docker ps -aq")); len(ids) > 0 {
		h.docker(append([]string{"rm", "-f", "-v"}, ids...)...)
	}
	for id := range strings.FieldsSeq(h.run("docker network ls -q --filter type=custom")) {
		_, err := h.try("docker network rm " + id)
		if h.miscounted(id, err) {
			_, err = h.try("docker network rm " + id)
		}
		if err != nil {
			h.Fatal(err)
		}
	}
}

// miscounted reports whether the network was not removed because the engine counted its
// endpoints wrongly, and restarts the engine, which then counts anew. Engine 20.10 may,
// when many containers come and go at once: its local-kv.db then has a count of 1 and no
// endpoint, for good (github.com/moby/moby/issues/42119; libnetwork, endpoint_cnt.go).
func (h *host) miscounted(network string, err error) bool {
	h.Helper()
	if err == nil || h.Engine != lab.Engine2010 || !strings.Contains(err.Error(), "has active endpoints") {
		return false
	}
	if shown := h.network(network).Containers; len(shown) > 0 {
		h.Errorf("%v: the engine shows %v", err, shown)
		return false
	}
	h.Logf("the engine counts endpoints of a network that it shows none of: %v", err)
	if err := h.RestartEngine(h.ctx); err != nil {
		h.Fatal(err)
	}
	return true
}

// docker runs the client and returns what it printed.
func (h *host) docker(args ...string) string {
	h.Helper()
	out, err := h.Docker(h.ctx, args...)
	if err != nil {
		h.Fatal(err)
	}
	return out
}

// run runs a command as a user types it, with no quotes: on the host, but for
// docker, which is the engine's own client.
func (h *host) run(line string) string {
	h.Helper()
	out, err := h.try(line)
	if err != nil {
		h.Fatal(err)
	}
	return out
}

// try is run for a command that may fail.
func (h *host) try(line string) (string, error) {
	argv := strings.Fields(line)
	if argv[0] == "docker" {
		return h.Docker(h.ctx, argv[1:]...)
	}
	return h.Exec(h.ctx, argv...)
}

// refuses asserts that a command fails and that it says each of the words, in
// whatever case. It returns all that it says.
func (h *host) refuses(line string, words ...string) string {
	h.Helper()
	out, err := h.try(line)
	var failed *lab.CommandError
	switch {
	case err == nil:
		h.Fatalf("%s: it succeeded (%s), want an error with %q", line, out, words)
	case !errors.As(err, &failed):
		h.Fatalf("%s: %v", line, err)
	}
	for _, word := range words {
		if !strings.Contains(strings.ToLower(failed.Output), strings.ToLower(word)) {
			h.Errorf("%s: it says %q, want %q", line, failed.Output, word)
		}
	}
	return failed.Output
}

// settle is how long the engine may work on after its answer, on a machine that has much
// else to do. It is less than the minute after which the plugin removes what nobody knows.
const settle = 30 * time.Second

// assertState reports what differs between the host's state and want, once the
// engine has had time to finish what it does after its answer.
func (h *host) assertState(want state, when string) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.ctx, settle)
	defer cancel()
	var diff string
	err := lab.Poll(ctx, "the host to be as before", func() error {
		if diff = cmp.Diff(want, h.state()); diff != "" {
			return errors.New("it is not")
		}
		return nil
	})
	if err != nil {
		h.Errorf("the host's state %s (-before +after):\n%s", when, diff)
	}
}
