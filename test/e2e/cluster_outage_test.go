package e2e

import (
	"fmt"
	"testing"
)

// startStream starts a stream from a container to a server, by either protocol.
func (c *cluster) startStreams(from *host, container, target string) []*stream {
	c.Helper()
	var all []*stream
	for _, protocol := range []string{"tcp", "udp"} {
		one, err := startStream(from.ctx, container+" to "+target+" by "+protocol, from.namespaceOf(container), protocol, target)
		if err != nil {
			c.Fatal(err)
		}
		c.Cleanup(func() { _ = one.conn.Close() }) // for a test that failed before it asked
		all = append(all, one)
	}
	return all
}

// areWhole ends the streams and asserts that no message was lost.
func (c *cluster) areWhole(all []*stream) {
	c.Helper()
	total := 0
	for _, one := range all {
		sent, err := one.close()
		total += sent
		if err != nil {
			c.Errorf("stream %s: %v", one.name, err)
		}
	}
	c.Logf("%d messages over %d connections", total, len(all))
}

// namespaceOf returns the file of a running container's network namespace.
func (h *host) namespaceOf(container string) string {
	h.Helper()
	all, err := h.inhabitants()
	if err != nil {
		h.Fatal(err)
	}
	first, err := h.FirstPID()
	if err != nil {
		h.Fatal(err)
	}
	return all[container].namespace(first)
}

// stopConsul ends all servers; they come back with [cluster.startConsul], or with the
// end of the test.
func (c *cluster) stopConsul() {
	c.Helper()
	for _, s := range c.consul.Servers {
		s.Kill(c)
	}
}

func (c *cluster) startConsul() {
	c.Helper()
	for _, s := range c.consul.Servers {
		s.Begin(c)
	}
	if err := c.consul.Ready(c.host(1).ctx); err != nil {
		c.Fatal(err)
	}
}

// While Consul is away all goes on but the making of networks, and nothing of it is
// lost: not even when the plugin is started anew meanwhile.
func TestCluster_goesOnWithoutConsul(t *testing.T) {
	inMixedCluster(t, func(c *cluster) {
		h1, h2, h3 := c.host(1), c.host(2), c.host(3)
		c.overlay("lab", "--subnet 10.30.0.0/24")
		h1.run("docker run -d --name web --network lab redis")
		h1.run("docker run -d --name near --network lab busybox sleep 1d")
		h2.run("docker run -d --name client --network lab busybox sleep 1d")
		h2.run("docker run -d --name goes --network lab busybox sleep 1d")
		c.assertConsistent("before Consul is stopped")
		web := h1.address("web", "lab")
		streams := append(c.startStreams(h2, "client", web+":6379"), c.startStreams(h1, "near", web+":6379")...)

		c.stopConsul()
		restarted := false
		c.Cleanup(func() {
			if !restarted {
				c.startConsul()
			}
		})
		h1.refuses("docker network create -d ournet -o type=overlay --ipam-driver ournet --subnet 10.31.0.0/24 no", "cluster store")
		h1.run("docker network create -d ournet own")
		h1.run("docker network rm own")
		h2.run("docker rm -f goes")
		for _, h := range c.hosts {
			for i := range 3 {
				h.run(fmt.Sprintf("docker run -d --name new%d --network lab busybox sleep 1d", i))
			}
			h.reaches("new0", "new1")
			h.reaches("new0", web)
		}
		h2.killPlugin()
		h3.run("docker plugin disable -f " + pluginName)
		h3.run("docker plugin enable " + pluginName)
		for _, h := range c.hosts {
			h.run("docker run -d --name late --network lab busybox sleep 1d")
			h.run("docker restart new1")
			h.reaches("late", "new1")
			h.reaches("late", web)
		}
		residents, err := c.residentsWithout("lab")
		if err != nil {
			c.Fatal(err)
		}
		if twice := duplicates(residents); len(twice) > 0 || len(residents) != 15 {
			c.Errorf("%d containers, want 15: %v", len(residents), twice)
		}

		c.startConsul()
		restarted = true
		c.assertConsistent("when Consul is back")
		for _, h := range c.hosts {
			for _, other := range c.hosts {
				h.connected("late", other.address("new2", "lab"))
			}
			h.resolves("late", "new0", h1.address("new0", "lab"), h2.address("new0", "lab"), h3.address("new0", "lab"))
		}
		c.areWhole(streams)
		c.overlay("more", "--subnet 10.31.0.0/24")
	})
}
