package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/test/lab"
)

// newCluster returns hosts of one cluster, with one Consul outside.
func newCluster(t *testing.T, engines ...lab.Engine) []*host {
	t.Helper()
	dir, err := pluginDir()
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Up(t.Context(), lab.Config{Engines: engines, DockerdArgs: []string{"--init"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("remove the lab: %v", err)
		}
	})
	consul, err := l.StartConsul(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g, ctx := errgroup.WithContext(t.Context())
	for _, h := range l.Hosts {
		g.Go(func() error { return furnish(ctx, h, dir, "CLUSTER_STORE=consul://"+consul) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	hosts := make([]*host, 0, len(l.Hosts))
	for _, lh := range l.Hosts {
		hosts = append(hosts, newHost(t, l, lh))
	}
	return hosts
}

// soon waits until a command succeeds and prints what is wanted, and returns how long
// that took.
func (h *host) soon(limit time.Duration, line string, want func(out string) bool) time.Duration {
	h.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(h.ctx, limit)
	defer cancel()
	var last string
	err := lab.Poll(ctx, line, func() error {
		out, err := h.try(line)
		last = out
		if err == nil && !want(out) {
			err = errors.New("not yet")
		}
		return err
	})
	if err != nil {
		h.Fatalf("%s on %s: %v; it printed %q", line, h.Name, err, last)
	}
	return time.Since(began)
}

func has(word string) func(string) bool {
	return func(out string) bool { return strings.Contains(out, word) }
}

func hasNot(word string) func(string) bool {
	return func(out string) bool { return !strings.Contains(out, word) }
}

// One network over three hosts and both engines: made on one, there on all, removed
// everywhere.
func TestOverlay_networkOfOneHostIsThereOnAll(t *testing.T) {
	t.Parallel()
	hosts := newCluster(t, lab.Engine29, lab.Engine2010, lab.Engine29)
	first := hosts[0]
	first.soon(propagation, "docker ournet host ls --format {{.Name}}:{{.State}}", func(out string) bool { return strings.Count(out, ":up") == len(hosts) })
	first.run("docker network create -d ournet -o type=overlay --ipam-driver ournet --label team=blue --attachable lab")
	for _, h := range hosts[1:] {
		took := h.soon(propagation, "docker network ls --filter label=team=blue --format {{.Name}}", has("lab"))
		t.Logf("on %s after %s", h.Name, took.Round(time.Millisecond))
	}
	addrs := make([]string, len(hosts))
	for i, h := range hosts {
		h.run(fmt.Sprintf("docker run -d --name c%d --network lab %s sleep infinity", i+1, lab.BusyboxImage))
		addrs[i] = strings.TrimSpace(h.run(fmt.Sprintf("docker inspect --format {{.NetworkSettings.Networks.lab.IPAddress}} c%d", i+1)))
	}
	for i, h := range hosts {
		for j := range hosts {
			h.soon(propagation, fmt.Sprintf("docker exec c%d ping -c 1 -W 1 %s", i+1, addrs[j]), has("1 packets received"))
			h.soon(propagation, fmt.Sprintf("docker exec c%d ping -c 1 -W 1 c%d", i+1, j+1), has("1 packets received"))
		}
	}
	t.Log(first.run("docker ournet network ls"))
	t.Log(first.run("docker ournet host ls"))
	for i, h := range hosts {
		h.run(fmt.Sprintf("docker rm -f c%d", i+1))
	}
	hosts[1].run("docker network rm lab")
	for _, h := range hosts {
		took := h.soon(propagation, "docker network ls --format {{.Name}}", hasNot("lab"))
		t.Logf("gone from %s after %s", h.Name, took.Round(time.Millisecond))
	}
}
