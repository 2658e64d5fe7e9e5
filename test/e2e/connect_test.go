package e2e

import (
	"strings"
	"testing"
)

// Tutorial, steps 7, 8, 9 and 10, which build on each other.
func TestConnect_asInTheTutorial(t *testing.T) {
	eachIPAM(t, func(h *host, ipam string) {
		h.run("docker run -itd --name=container1 busybox")
		h.run("docker run -itd --name=container2 busybox")
		h.run("docker network create -d ournet " + ipam + "--subnet 172.25.0.0/16 --gateway 172.25.0.1 isolated_nw")

		// Step 7.
		h.run("docker network connect isolated_nw container2")
		h.attached("isolated_nw", "container2", "172.25.0.2/16", "02:42:ac:19:00:02")
		if out := h.run("docker exec container2 ip -o -4 address"); !strings.Contains(out, "eth1    inet 172.25.0.2/16") || !strings.Contains(out, "eth0") {
			h.Errorf("container2 has the addresses\n%s\nwant eth0 and 172.25.0.2/16 on eth1", out)
		}

		// Step 8.
		h.run("docker run --network=isolated_nw --ip=172.25.3.3 -itd --name=container3 busybox")
		h.attached("isolated_nw", "container3", "172.25.3.3/16", "02:42:ac:19:03:03")
		h.run("docker stop -t 1 container3") // its shell ignores the first signal
		h.run("docker start container3")
		h.attached("isolated_nw", "container3", "172.25.3.3/16", "02:42:ac:19:03:03")

		// Step 9.
		h.reaches("container2", "container3")
		h.reaches("container3", "container2")
		h.badAddress("container1", "container3")
		h.reachesNot("container3", h.address("container1", "bridge"))
		h.run("docker network connect isolated_nw container1")
		h.reaches("container1", "container3")

		// Step 10.
		h.refuses("docker run --network=isolated_nw --ip=172.26.3.3 --name=container4 busybox true", "172.26.3.3", "subnet")
		h.refuses("docker run --network=isolated_nw --ip=172.25.3.3 --name=container5 busybox true", "in use")
	})
}

// attached asserts what `docker network inspect` shows of a container.
func (h *host) attached(network, container, address, mac string) {
	h.Helper()
	for _, c := range h.network(network).Containers {
		if c.Name != container {
			continue
		}
		if c.IPv4Address != address || c.MacAddress != mac {
			h.Errorf("%s has %s and %s, want %s and %s", container, c.IPv4Address, c.MacAddress, address, mac)
		}
		return
	}
	h.Errorf("network %s does not show %s", network, container)
}

// Tutorial, step 14.
func TestDisconnect_endsTraffic(t *testing.T) {
	eachIPAM(t, func(h *host, ipam string) {
		h.run("docker network create -d ournet " + ipam + "--subnet 172.26.0.0/24 local_alias")
		h.run("docker run -itd --name=container2 busybox")
		h.run("docker run -itd --name=container3 --network local_alias busybox")
		h.run("docker network connect local_alias container2")
		address := h.address("container2", "local_alias")
		h.reaches("container2", "container3")
		h.reaches("container3", "container2")

		h.run("docker network disconnect local_alias container2")
		if out := h.run("docker exec container2 ip -o link"); strings.Contains(out, "eth1") {
			h.Errorf("the interface is still there:\n%s", out)
		}
		h.reachesNot("container2", h.address("container3", "local_alias"))
		h.reachesNot("container3", address)
		h.badAddress("container3", "container2")

		h.run("docker network connect local_alias container2")
		h.reaches("container3", "container2")
	})
}

// Tutorial, step 16.
func TestRemove_isRefusedWhileAttachedAndLeavesNothing(t *testing.T) {
	eachIPAM(t, func(h *host, ipam string) {
		clean := h.settledState()
		h.run("docker network create -d ournet " + ipam + "--subnet 172.25.0.0/16 isolated_nw")
		h.run("docker run -d --name=container2 busybox sleep 1d")
		h.run("docker network connect isolated_nw container2")
		h.run("docker run -d --name=container3 --network isolated_nw -p 8082:6379 redis")
		h.refuses("docker network rm isolated_nw", "active endpoints")
		h.run("docker network disconnect isolated_nw container2")
		h.refuses("docker network rm isolated_nw", "active endpoints")
		h.run("docker stop container3")
		h.run("docker network rm isolated_nw")
		h.run("docker rm -f container2 container3")
		h.assertState(clean, "after the network's removal")

		// The pool and its addresses are free as well.
		h.run("docker network create -d ournet " + ipam + "--subnet 172.25.0.0/16 isolated_nw")
		h.run("docker run -d --name=container3 --network isolated_nw busybox sleep 1d")
		h.attached("isolated_nw", "container3", "172.25.0.2/16", "02:42:ac:19:00:02")
	})
}
