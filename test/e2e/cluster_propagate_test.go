package e2e

import (
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// A host with PROPAGATE=false has the networks that its own user makes, which the others
// follow, and no others. It takes part in one of another host by making it.
func TestCluster_hostThatDoesNotFollow(t *testing.T) {
	t.Parallel()
	for name, engines := range map[string][]lab.Engine{
		"29":    {lab.Engine2010, lab.Engine29},
		"20.10": {lab.Engine29, lab.Engine2010},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFreshCluster(t, clusterOptions{engines: engines}, (*cluster).hasAHostThatDoesNotFollow)
		})
	}
}

func (c *cluster) hasAHostThatDoesNotFollow() {
	c.Helper()
	const create = "docker network create -d ournet -o type=overlay --ipam-driver ournet "
	h1, h2 := c.host(1), c.host(2)
	h2.run("docker plugin disable -f " + pluginName)
	h2.set("PROPAGATE=false")
	h2.run("docker plugin enable " + pluginName)
	h1.run(create + "--subnet 10.65.0.0/24 lab")
	h2.run(create + "--subnet 10.66.0.0/24 mine")
	h1.soon(propagation, "docker network ls --format {{.Name}}", has("mine"))
	h2.soon(propagation, "docker ournet network ls", has("lab"))
	if out := h2.run("docker network ls --format {{.Name}}"); strings.Contains(out, "lab") {
		h2.Errorf("the network of the other host was made: it has %q", out)
	}
	h2.run(create + "--subnet 10.65.0.0/24 lab")
	for _, h := range c.hosts {
		h.run("docker run -d --name " + h.Name + " --network lab busybox sleep 1d")
	}
	h1.connected(h1.Name, h2.Name)
	h2.connected(h2.Name, h1.Name)
	c.assertConsistent("with a host that makes what it is told to alone")

	h1.run("docker rm -f " + h1.Name)
	h1.run("docker network rm lab mine")
	h2.soon(propagation, "docker ournet network ls", func(out string) bool {
		return strings.Count(out, "PROPAGATE=false keeps it on this one") == 2 && strings.Contains(out, "docker network rm lab")
	})
	h2.run("docker rm -f " + h2.Name)
	h2.run("docker network rm lab mine")
	c.nowhere("lab")
	c.nowhere("mine")
	c.assertStoreEmpty()
}
