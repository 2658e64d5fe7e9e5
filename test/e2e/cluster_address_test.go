package e2e

import (
	"fmt"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// The address that other hosts send to changes while containers run, as DHCP changes
// it: the host is without one for a moment, and has another then. All hosts follow.
func TestCluster_addressOfAHostChanges(t *testing.T) {
	t.Parallel()
	inFreshCluster(t, clusterOptions{engines: lab.Engines(), bare: true}, func(c *cluster) {
		plugin, err := pluginDir()
		if err != nil {
			c.Fatal(err)
		}
		for i, h := range c.hosts {
			c.vteps[h.Name] = fmt.Sprintf("10.98.0.%d", i+1)
			h.run("ip address add " + c.vtep(h) + "/24 dev eth0")
		}
		c.on(func(h *host) error {
			return h.InstallPlugin(h.ctx, plugin, pluginName, c.store(), "CLUSTER_ADVERTISE=10.98.0.0/24")
		})
		c.overlay("lab", "--subnet 10.71.0.0/24")
		for _, h := range c.hosts {
			h.run("docker run -d --name c1 --network lab busybox sleep 1d")
		}
		reach := func(when string) {
			c.Helper()
			c.assertConsistent(when)
			for _, h := range c.hosts {
				for _, other := range c.hosts {
					h.connected("c1", other.address("c1", "lab"))
				}
			}
		}
		reach("before")
		for i, h := range c.hosts {
			h.run("ip address delete " + c.vtep(h) + "/24 dev eth0")
			c.vteps[h.Name] = fmt.Sprintf("10.98.0.%d", i+101)
			h.run("ip address add " + c.vtep(h) + "/24 dev eth0")
			reach("after " + h.Name + " has moved")
		}
		h1, h2 := c.host(1), c.host(2)
		before, err := h2.Logs()
		if err != nil {
			c.Fatal(err)
		}
		h2.run("ip address delete " + c.vtep(h2) + "/24 dev eth0")
		h2.says(before, "this host has lost the address that other hosts send to")
		c.vteps[h2.Name] = "10.98.0.202"
		h2.run("ip address add " + c.vtep(h2) + "/24 dev eth0")
		reach("after " + h2.Name + " was without an address")
		h1.run("docker rm -f c1")
		h2.run("docker rm -f c1")
		h1.run("docker network rm lab")
		c.nowhere("lab")
	})
}
