package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// everyComposition is for what has to work on both engines and on a mixture.
func everyComposition() []composition { return []composition{allOld, allNew, mixed} }

// Tutorial, step 3, as typed.
func TestCluster_tutorialSeveralSubnets(t *testing.T) {
	inClusters(t, everyComposition(), func(c *cluster) {
		h1, h2, h3 := c.host(1), c.host(2), c.host(3)
		h1.run("docker network create -d ournet -o type=overlay --ipam-driver ournet --subnet=192.168.0.0/16 --subnet=192.170.0.0/16 " +
			"--gateway=192.168.0.100 --gateway=192.170.0.100 --ip-range=192.168.1.0/24 " +
			"--aux-address=my-router=192.168.1.5 --aux-address=my-switch=192.168.1.6 " +
			"--aux-address=my-printer=192.170.1.5 --aux-address=my-nas=192.170.1.6 my-multihost-network")
		c.everywhere("my-multihost-network")
		ranged := netip.MustParsePrefix("192.168.1.0/24")
		for i, h := range c.hosts {
			for _, letter := range []string{"a", "b"} {
				name := fmt.Sprintf("%s%d", letter, i+1)
				h.run("docker run -d --name " + name + " --network my-multihost-network busybox sleep 1d")
				addr := netip.MustParseAddr(h.address(name, "my-multihost-network"))
				if !ranged.Contains(addr) || slices.Contains([]string{"192.168.1.5", "192.168.1.6"}, addr.String()) {
					h.Errorf("%s has %s, want one of %s without the reserved ones", name, addr, ranged)
				}
			}
		}
		// One that is asked for may be of any subnet, on any host.
		h3.run("docker run -d --name far --network my-multihost-network --ip 192.170.1.9 busybox sleep 1d")
		h1.refuses("docker run --rm --network my-multihost-network --ip 192.170.1.9 busybox true", "192.170.1.9")
		h2.refuses("docker run --rm --network my-multihost-network --ip 192.168.1.5 busybox true", "192.168.1.5")
		h1.connected("a1", h2.address("a2", "my-multihost-network"))
		h2.connected("a2", "192.170.1.9")
		h3.connected("far", h1.address("b1", "my-multihost-network"))
		c.assertConsistent("with two subnets")
		c.removeAll()
		c.nowhere("my-multihost-network")
	})
}

// The range of the first subnet is full: the next one is used, on whatever host. The
// client tells the engine of subnets in any order (docker/cli, createIPAMConfig), so
// the first one is that which has a range.
func TestCluster_fullSubnetSpillsOver(t *testing.T) {
	inMixedCluster(t, func(c *cluster) {
		c.overlay("small", "--subnet 10.20.0.0/29 --ip-range 10.20.0.0/29 --subnet 10.20.1.0/24")
		first := netip.MustParsePrefix("10.20.0.0/29")
		spilled := map[string]*host{}
		inFirst := 0
		for round := range 3 {
			for _, h := range c.hosts {
				name := fmt.Sprintf("c%d", round)
				h.run("docker run -d --name " + name + " --network small busybox sleep 1d")
				addr := h.address(name, "small")
				if first.Contains(netip.MustParseAddr(addr)) {
					inFirst++
					continue
				}
				spilled[addr] = h
			}
		}
		// .0 and .7 nobody may have, .1 is the gateway's.
		if inFirst != 5 || len(spilled) != 4 {
			c.Errorf("%d containers are in %s, %d beyond, want 5 and 4", inFirst, first, len(spilled))
		}
		c.assertConsistent("with a full subnet")
		for addr := range spilled {
			for _, h := range c.hosts {
				h.connected("c0", addr)
			}
			break
		}
	})
}

// Tutorial, step 16, and that both come and go on all hosts.
func TestCluster_tutorialRemoveLeavesNothing(t *testing.T) {
	inClusters(t, everyComposition(), func(c *cluster) {
		h1, h2, h3 := c.host(1), c.host(2), c.host(3)
		c.overlay("lab", "--subnet 10.10.0.0/24 --label owner=me")
		for _, h := range c.hosts {
			if got := h.run("docker network inspect -f {{.Labels.owner}}/{{.Options.type}}/{{.IPAM.Driver}} lab"); got != "me/overlay/ournet" {
				h.Errorf("label, type and IPAM are %s", got)
			}
			if got := h.network("lab").IPAM.Config[0].Subnet; got != "10.10.0.0/24" {
				h.Errorf("the subnet is %s", got)
			}
		}
		h1.run("docker run -d --name one --network lab busybox sleep 1d")
		h2.run("docker run -d --name two --network lab busybox sleep 1d")
		h2.connected("two", "one")
		c.assertConsistent("with two containers")
		h1.refuses("docker network rm lab", "active endpoints")
		h3.run("docker network rm lab")
		// It goes from each host with its last container there.
		h1.connected("one", "two")
		h1.run("docker stop one")
		h2.run("docker network disconnect lab two")
		c.nowhere("lab")
		c.assertStoreEmpty()
		// Its name and its addresses are free.
		h2.run("docker network create -d ournet -o type=overlay --ipam-driver ournet --subnet 10.10.0.0/24 lab")
		c.everywhere("lab")
		h3.run("docker network rm lab")
		c.nowhere("lab")
	})
}
