package e2e

import (
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// Containers of a network reach each other and the host's address on it by all of
// their addresses, be the network internal, or its subnet one of link-local addresses.
func TestNeighbours_areReachedByAllAddresses(t *testing.T) {
	each(t, func(h *host) {
		h.all(`
			docker network create -d ournet --ipam-driver ournet --internal --ipv6 --subnet 10.231.1.0/24 --subnet fd00:231:1::/64 --gateway 10.231.1.1 --gateway fd00:231:1::1234 inner
			docker network create -d ournet --ipam-driver ournet --ipv6 --subnet 10.231.2.0/24 --subnet fe80::/64 local
			docker network create -d ournet --ipam-driver ournet --ipv6 --subnet 10.231.3.0/24 --subnet fe80:1234::/64 odd
			docker run -d --name c1 --network local busybox sleep 1d
			docker run -d --name c2 --network local --mac-address 02:42:ac:11:00:02 busybox sleep 1d`)
		for _, network := range []string{"inner", "odd"} {
			h.run("docker network connect " + network + " c1")
			h.run("docker network connect " + network + " c2")
		}
		c2 := h.container("c2").NetworkSettings.Networks
		for _, target := range []string{
			"c2", "10.231.1.1", "fd00:231:1::1234",
			c2["inner"].IPAddress, c2["inner"].GlobalIPv6Address,
			c2["local"].IPAddress, c2["local"].GlobalIPv6Address + "%eth0", "fe80::42:acff:fe11:2%eth0",
			c2["odd"].IPAddress, c2["odd"].GlobalIPv6Address + "%eth2",
		} {
			h.reaches("c1", target)
		}
	})
}

// Today's engine lets the user switch IPv6 off on one interface of a container.
func TestNeighbours_withoutIPv6OnTheirInterface(t *testing.T) {
	eachOf(t, []lab.Engine{lab.Engine29}, func(h *host) {
		h.all(`
			docker network create -d ournet --ipam-driver ournet --ipv6 --subnet 10.231.4.0/24 --subnet fd00:231:4::/64 dual
			docker run -d --name no6 --network name=dual,driver-opt=com.docker.network.endpoint.sysctls=net.ipv6.conf.IFNAME.disable_ipv6=1 -p 8089:6379 redis
			docker run -d --name with6 --network dual busybox sleep 1d`)
		if out := h.run("docker exec no6 ip address show dev eth0"); strings.Contains(out, "inet6") {
			h.Errorf("the interface has an IPv6 address:\n%s", out)
		}
		if a := h.container("no6").NetworkSettings.Networks["dual"]; a.GlobalIPv6Address != "" {
			h.Errorf("inspect shows the IPv6 address %s", a.GlobalIPv6Address)
		}
		h.run("docker exec with6 ping -4 -c 1 -W 10 no6")
		h.refuses("docker exec with6 ping -6 -c 1 -W 1 no6", "bad address")
		h.calledFromOutside("tcp", h.Address().String()+":8089")
	})
}
