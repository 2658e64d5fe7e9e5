package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// stage is where the tutorial's containers of steps 9 to 14 are: container1 on the first
// host, and so on. It may be three times the same host.
type stage struct {
	one, two, three *host
	// network makes a network that all of the hosts have.
	network func(name, options string)
}

// alone has all on one host.
func alone(h *host) stage {
	return stage{h, h, h, func(name, options string) { h.run("docker network create -d ournet " + options + " " + name) }}
}

// spread has each on another host of the cluster.
func spread(c *cluster) stage {
	return stage{c.host(1), c.host(2), c.host(3), func(name, options string) { c.overlay(name, options) }}
}

// finds asserts what is found from now on. On another host than that where something was
// done, it is known a moment later.
func (s stage) finds(h *host, container, name string, want ...string) {
	h.Helper()
	if s.one != s.two {
		h.finds(container, name, want...)
		return
	}
	h.findsNow(container, name, want...)
}

// Tutorial, steps 9, 11, 12 and 14, after 7 and 8.
func (s stage) linksAndAliases() {
	one, two, three := s.one, s.two, s.three
	s.network("isolated_nw", "--subnet 172.25.0.0/16 --gateway 172.25.0.1")
	one.run("docker run -itd --name=container1 busybox")
	two.run("docker run -itd --name=container2 --network isolated_nw --network-alias app1 busybox")
	three.run("docker run -itd --name=container3 --network isolated_nw --ip=172.25.3.3 busybox")

	// Step 9.
	two.finds("container2", "container3", "172.25.3.3")
	two.connected("container2", "container3")
	three.finds("container3", "container2.isolated_nw", two.address("container2", "isolated_nw"))
	one.findsNow("container1", "container3")
	one.run("docker network connect isolated_nw container1")
	one.finds("container1", "container3", "172.25.3.3")
	one.connected("container1", "container3")
	one.run("docker network disconnect isolated_nw container1")
	three.run("docker rm -f container3")

	// Step 11.
	s.network("local_alias", "--subnet 172.26.0.0/24")
	two.run("docker network connect --link container1:foo local_alias container2")
	one.run("docker network connect --link container2:bar local_alias container1")
	two.finds("container2", "foo", one.address("container1", "local_alias"))
	one.finds("container1", "bar", two.address("container2", "local_alias"))
	one.findsNow("container1", "foo")
	two.findsNow("container2", "bar")
	two.connected("container2", "foo")
	one.run("docker network disconnect local_alias container1")
	s.finds(two, "container2", "foo")
	two.findsNow("container2", "app1", two.address("container2", "isolated_nw"))

	// Step 12.
	three.run("docker run -itd --name=container3 --network local_alias --network-alias app2 busybox")
	two.run("docker network disconnect local_alias container2")
	two.run("docker network connect --alias app3 local_alias container2")
	ip2, ip3 := two.address("container2", "local_alias"), three.address("container3", "local_alias")
	two.finds("container2", "app1", two.address("container2", "isolated_nw"))
	two.finds("container2", "app2", ip3)
	two.finds("container2", "app3", ip2)
	three.finds("container3", "app2", ip3)
	three.finds("container3", "app3", ip2)
	three.findsNow("container3", "app1")

	// Step 14.
	two.run("docker network disconnect local_alias container2")
	s.finds(three, "container3", "container2")
	two.findsNow("container2", "app2")
	two.findsNow("container2", "container2", two.address("container2", "isolated_nw"))
	two.reachesNot("container2", ip3)
	two.hasTable("container2", true)
	two.run("docker network disconnect isolated_nw container2")
	two.hasTable("container2", false)
}

// hasTable waits until our table is in the container's namespace, or is not.
func (h *host) hasTable(container string, want bool) {
	h.Helper()
	err := lab.Poll(h.ctx, "the tables of "+container, func() error {
		if all := h.run(h.inside(container, "nft list tables")); strings.Contains(all, "table ip ournet") != want {
			return fmt.Errorf("it has the tables %q, want ours among them: %t", all, want)
		}
		return nil
	})
	if err != nil {
		h.Error(err)
	}
}

// Tutorial, step 13: who takes the first address takes each in turn, and none that is
// known to be gone.
func (s stage) sharedAlias() {
	one, two, three := s.one, s.two, s.three
	s.network("lab", "-o ournet.dns_ttl=1s --subnet 10.31.0.0/24")
	three.run("docker run -d --name asker --network lab busybox sleep 1d")
	two.run("docker run -d --name container2 --network lab --ip 10.31.0.32 --network-alias app1 busybox sleep 1d")
	one.run("docker run -d --name container4 --network lab --ip 10.31.0.34 --network-alias app1 busybox sleep 1d")
	three.finds("asker", "app1", "10.31.0.32", "10.31.0.34")
	one.finds("container4", "app1", "10.31.0.32", "10.31.0.34")
	first := make(map[string]int)
	for range 8 {
		words := strings.Fields(three.run("docker exec asker probe query -patience 5s app1"))
		if len(words) != 5 || words[2] != "1" {
			three.Fatalf("the answer is %q, want two addresses to be kept for 1 s", words)
		}
		first[words[3]]++
	}
	if first["10.31.0.32"] != 4 || first["10.31.0.34"] != 4 {
		three.Errorf("of 8 answers these came first: %v, want each in turn", first)
	}
	one.run("docker stop -t 0 container4")
	s.finds(three, "asker", "app1", "10.31.0.32")
	s.finds(three, "asker", "container4")
	one.run("docker start container4")
	three.finds("asker", "app1", "10.31.0.32", "10.31.0.34")
	two.run("docker kill container2")
	s.finds(three, "asker", "app1", "10.31.0.34")
	two.run("docker start container2")
	three.finds("asker", "app1", "10.31.0.32", "10.31.0.34")
}

func TestNames_linksAndAliasesAsInTheTutorial(t *testing.T) {
	each(t, func(h *host) { alone(h).linksAndAliases() })
}

func TestNames_aSharedAliasHasTheAddressesOfAllWhoRun(t *testing.T) {
	each(t, func(h *host) { alone(h).sharedAlias() })
}

func TestCluster_tutorialLinksAndAliases(t *testing.T) {
	inClusters(t, everyComposition(), func(c *cluster) { spread(c).linksAndAliases() })
}

func TestCluster_tutorialSharedAlias(t *testing.T) {
	inClusters(t, everyComposition(), func(c *cluster) { spread(c).sharedAlias() })
}
