package e2e

import (
	"slices"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// A plugin that had no cluster gets one while its networks are in use: they stay as
// they are and stay this host's own.
func TestCluster_pluginIsTakenIntoACluster(t *testing.T) {
	t.Parallel()
	inFreshCluster(t, clusterOptions{engines: lab.Engines(), bare: true}, func(c *cluster) {
		plugin, err := pluginDir()
		if err != nil {
			c.Fatal(err)
		}
		c.on(func(h *host) error { return h.InstallPlugin(h.ctx, plugin, pluginName) })
		for _, h := range c.hosts {
			h.part(string(h.Engine), func(h *host) {
				h.leaveClean()
				e := openEstate(h)
				streams := e.startStreams()
				h.run("docker plugin disable -f " + pluginName)
				h.set(c.store())
				h.run("docker plugin enable " + pluginName)
				streams.areWhole()
				e.isWhole()
				h.run("docker run --rm --network front busybox ping -c 1 -W 10 web")
				h.run("docker restart web app vault")
				e.isWhole()
			})
		}
		c.overlay("lab", "--subnet 10.70.0.0/24")
		for _, h := range c.hosts {
			h.run("docker run -d --name c1 --network lab busybox sleep 1d")
		}
		c.host(2).connected("c1", c.host(1).address("c1", "lab"))
		c.assertConsistent("beside networks of the hosts alone")
		// Theirs were told to nobody.
		networks, err := c.sharedNetworks()
		if err != nil {
			c.Fatal(err)
		}
		var names []string
		for _, n := range networks {
			names = append(names, n.name)
		}
		if !slices.Equal(names, []string{"lab"}) {
			c.Errorf("the store has the networks %v, want lab alone", names)
		}
	})
}
