package e2e

import (
	"net"
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

func TestIPv6_worksFromTheFirstInstantAndStaysApart(t *testing.T) {
	eachBackend(t, func(h *host) {
		bridge := h.dual(1, "six", "")
		h.dual(2, "other", "")
		h.dual(3, "closed", "--internal")
		_, own6 := h.ownSubnets(4)
		h.run("docker network create --ipv6 --subnet " + own6 + " engines")
		host6, outside6 := h.Address6().String(), h.lab.Outside.Address6().String()
		// The first thing that the container does: no address is tentative. One that is
		// would be printed before whom the outside sees.
		const firstInstruction = `ip -6 -o address show dev eth0 | grep tentative | grep -v 'scope link'; exec probe who -timeout 10s tcp "$0"`
		for range 3 {
			seen := h.docker("run", "--rm", "--network", "six", lab.BusyboxImage, "sh", "-c", firstInstruction, h.outside6())
			if got := hostOf(h, seen); got != host6 {
				h.Errorf("the outside sees %s, want the host's %s", got, host6)
			}
		}
		if ra := h.run("cat /proc/sys/net/ipv6/conf/" + bridge + "/accept_ra"); ra != "0" {
			h.Errorf("the bridge takes router advertisements: %s", ra)
		}
		h.run("docker run -d --name server --network six -p 8095:6379 redis")
		for network, name := range map[string]string{"six": "neighbour", "other": "stranger", "closed": "inner", "engines": "plain"} {
			h.run("docker run -d --name " + name + " --network " + network + " redis")
		}
		if seen := h.calledFromOutside("tcp", net.JoinHostPort(host6, "8095")); seen != outside6 {
			h.Errorf("the server saw %s, want the outside's %s", seen, outside6)
		}
		server := h.endpoints("server", "six", "6379")[1]
		for name, network := range map[string]string{"neighbour": "six", "stranger": "other", "inner": "closed", "plain": "engines"} {
			h.hears(name, "tcp", server, network == "six")
			h.hears("server", "tcp", h.endpoints(name, network, "6379")[1], network == "six")
			h.hears(name, "tcp", h.outside6(), network != "closed" && (network != "engines" || h.Engine != lab.Engine2010))
		}
		h.deaf(h.lab.Outside, "tcp", server)
		h.deaf(h.lab.Outside, "tcp", h.endpoints("inner", "closed", "6379")[1])
		if routes := h.run("docker exec inner ip -6 route"); strings.Contains(routes, "default") {
			h.Errorf("a container of an internal network has a way out:\n%s", routes)
		}
	})
}

// Today's engine makes networks of IPv6 alone.
func TestIPv6_alone(t *testing.T) {
	eachOf(t, []lab.Engine{lab.Engine29, lab.Engine29NFT}, func(h *host) {
		_, v6 := h.ownSubnets(1)
		h.run("docker network create -d ournet --ipam-driver ournet --ipv4=false --ipv6 --subnet " + v6 + " only6")
		h.run("docker run -d --name server --network only6 -p 8096:6379 redis")
		h.run("docker run -d --name neighbour --network only6 busybox sleep 1d")
		if out := h.run("docker exec neighbour ip -o -4 address show dev eth0"); out != "" {
			h.Errorf("the container has an IPv4 address: %s", out)
		}
		h.hears("neighbour", "tcp", "server:6379", true)
		if seen := h.seenOutside6("neighbour", "udp"); seen != h.Address6().String() {
			h.Errorf("the outside sees %s, want the host's %s", seen, h.Address6())
		}
		h.calledFromOutside("tcp", net.JoinHostPort(h.Address6().String(), "8096"))
		h.run("docker restart -t 1 server neighbour")
		h.hears("neighbour", "tcp", "server:6379", true)
	})
}

// A container may have IPv6 switched off on a network that has it.
func TestIPv6_switchedOffInAContainer(t *testing.T) {
	each(t, func(h *host) {
		v4, v6 := h.ownSubnets(1)
		h.run("docker network create -d ournet --ipam-driver ournet --ipv6 --subnet " + v4 + " --subnet " + v6 + " dual")
		for _, when := range []string{"first", "second"} {
			h.run("docker run -d --name no6 --sysctl net.ipv6.conf.all.disable_ipv6=1 --network dual -p 8097:6379 redis")
			h.run("docker run -d --name with6 --network dual busybox sleep 1d")
			h.calledFromOutside("tcp", h.Address().String()+":8097")
			h.hears("with6", "tcp", h.address("no6", "dual")+":6379", true)
			if a := h.container("with6").NetworkSettings.Networks["dual"]; a.GlobalIPv6Address == "" {
				h.Errorf("the %s time its neighbour has no IPv6 address", when)
			}
			h.run("docker restart -t 1 no6")
			h.calledFromOutside("tcp", h.Address().String()+":8097")
			h.run("docker rm -f no6 with6")
		}
	})
}
