package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// Tutorial, step 15, over hosts: what ended with an engine can be forced off its
// network, and what ended with a host can be had again when that host was taken out.
func TestCluster_tutorialStaleEndpoints(t *testing.T) {
	t.Parallel()
	inFreshCluster(t, clusterOptions{engines: []lab.Engine{lab.Engine29, lab.Engine2010, lab.Engine29}}, func(c *cluster) {
		h1, h2, h3 := c.host(1), c.host(2), c.host(3)
		c.overlay("isolated_nw", "--subnet 172.25.0.0/16")
		h1.run("docker run -d --name other --network isolated_nw --restart always busybox sleep 1d")
		for _, h := range []*host{h1, h2} {
			c.part("the engine is killed, "+string(h.Engine), func(c *cluster) { c.forcedOff(c.hosts[h.number()-1]) })
		}
		h3.run("docker run -d --name stale --network isolated_nw --ip 172.25.3.4 busybox sleep 1d")
		h1.connected("other", "stale")
		if err := h3.Crash(h3.ctx); err != nil {
			c.Fatal(err)
		}
		// Nobody gets the address of a host that may only be cut off, but its names go.
		h1.refuses("docker run --rm --network isolated_nw --ip 172.25.3.4 busybox true", "172.25.3.4")
		h1.forgets("other", "stale")
		h1.run("docker ournet host rm h3")
		h1.run("docker run -d --name stale --network isolated_nw --ip 172.25.3.4 busybox sleep 1d")
		h2.run("docker run -d --name third --network isolated_nw busybox sleep 1d")
		h2.connected("third", "172.25.3.4")
		// The lost one comes back, and is told.
		if err := h3.Boot(h3.ctx); err != nil {
			c.Fatal(err)
		}
		h3.refuses("docker start stale", "172.25.3.4")
		h3.run("docker rm stale")
		h3.run("docker run -d --name more --network isolated_nw busybox sleep 1d")
		h3.connected("more", "172.25.3.4")
		c.assertConsistent("with the host back")
	})
}

// forcedOff kills the host's engine while a container runs, and has its address and its
// name again.
func (c *cluster) forcedOff(h *host) {
	c.Helper()
	const run = "docker run -d --name stale --network isolated_nw --ip 172.25.3.3 busybox sleep 1d"
	h.run(run)
	c.host(1).connected("other", "stale")
	if err := h.crashEngine(); err != nil {
		c.Fatal(err)
	}
	h.run("docker network disconnect -f isolated_nw stale")
	h.run("docker rm -f stale")
	h.run(run)
	c.host(1).connected("other", "stale")
	h.run("docker network disconnect -f isolated_nw stale")
	h.run("docker rm -f stale")
	// Neither is bound to the host that had it.
	next := c.hosts[h.number()%len(c.hosts)]
	next.run(run)
	next.connected("stale", c.host(1).address("other", "isolated_nw"))
	next.run("docker rm -f stale")
}

// number is the host's, from 1.
func (h *host) number() int { return int(h.Address().As4()[3]) }

// forgets waits until nobody tells the container of the name.
func (h *host) forgets(container, name string) {
	h.Helper()
	err := lab.Poll(h.ctx, "the end of a name", func() error {
		out, err := h.Docker(h.ctx, "exec", container, "probe", "lookup", name)
		if err == nil {
			return fmt.Errorf("in %s, %s has the addresses %q", container, name, strings.Fields(out))
		}
		return nil
	})
	if err != nil {
		h.Error(err)
	}
}
