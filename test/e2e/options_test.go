package e2e

import (
	"strings"
	"testing"
)

// Tutorial, step 5: com.docker.network.bridge.name.
func TestOption_bridgeNameIsTheLinksName(t *testing.T) {
	eachBackend(t, func(h *host) {
		h.run("docker network create -d ournet -o com.docker.network.bridge.name=lab0 named")
		if out := h.run("ip -d -o link show lab0"); !strings.Contains(out, "bridge") {
			h.Errorf("ip link shows %s, want a bridge", out)
		}
		h.refuses("docker network create -d ournet -o com.docker.network.bridge.name=lab0 again", "lab0")
		h.refuses("docker network create -d ournet -o com.docker.network.bridge.name=eth0 uplink", "eth0")
	})
}

// Tutorial, step 5: com.docker.network.bridge.enable_ip_masquerade.
func TestOption_masqueradeDecidesWhoTheOutsideSees(t *testing.T) {
	eachBackend(t, func(h *host) {
		h.run("docker network create -d ournet masqueraded")
		h.run("docker run -d --name behind --network masqueraded busybox sleep 1d")
		for _, protocol := range []string{"tcp", "udp"} {
			if seen := h.seenOutside("behind", protocol); seen != h.Address().String() {
				h.Errorf("the outside sees %s by %s, want the host's %s", seen, protocol, h.Address())
			}
		}
		subnet := h.ownSubnet()
		h.run("docker network create -d ournet -o com.docker.network.bridge.enable_ip_masquerade=false --subnet " + subnet + " routed")
		h.run("docker run -d --name before --network routed busybox sleep 1d")
		h.routeFromOutside(subnet)
		want := h.address("before", "routed")
		for _, protocol := range []string{"tcp", "udp"} {
			if seen := h.seenOutside("before", protocol); seen != want {
				h.Errorf("the outside sees %s by %s, want the container's %s", seen, protocol, want)
			}
		}
	})
}

// Tutorial, step 5: com.docker.network.driver.mtu.
func TestOption_mtuIsThatOfTheContainersInterface(t *testing.T) {
	eachBackend(t, func(h *host) {
		h.run("docker network create -d ournet -o com.docker.network.driver.mtu=1400 small")
		h.run("docker run -d --name c1 --network small busybox sleep 1d")
		h.run("docker run -d --name c2 --network small busybox sleep 1d")
		if mtu := h.run("docker exec c1 cat /sys/class/net/eth0/mtu"); mtu != "1400" {
			h.Errorf("eth0 has the MTU %s, want 1400", mtu)
		}
		// 28 bytes are the headers of IPv4 and ICMP.
		h.run("docker exec c1 ping -c 1 -W 10 -s 1372 c2")
	})
}

// Tutorial, step 5: --internal.
func TestOption_internalHasNoWayOutAndNoneIn(t *testing.T) {
	eachBackend(t, func(h *host) {
		subnet := h.ownSubnet()
		h.run("docker network create -d ournet --internal --subnet " + subnet + " closed")
		if !h.network("closed").Internal {
			h.Error("inspect does not show it as internal")
		}
		h.run("docker run -d --name c1 --network closed busybox sleep 1d")
		h.run("docker run -d --name c2 --network closed -p 8081:6379 redis")
		h.reaches("c1", "c2")
		h.reachesNot("c1", h.lab.Outside.Address().String())
		if routes := h.run("docker exec c1 ip route"); strings.Contains(routes, "default") {
			h.Errorf("a container has a way out:\n%s", routes)
		}
		h.routeFromOutside(subnet)
		h.deaf(h.lab.Outside, "tcp", h.Address().String()+":8081")
		h.deaf(h.lab.Outside, "tcp", h.address("c2", "closed")+":6379")
	})
}
