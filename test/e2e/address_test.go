package e2e

import (
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// addressLines make networks and containers with addresses that were asked for: of a
// container that is made on a network, of one that runs, and of one that does not.
// The engine gives link-local addresses to the interface by itself and tells no
// driver of them.
const addressLines = `
docker network create -d ournet --ipam-driver ournet --ipv6 --subnet 172.28.0.0/16 --subnet fd00:28::/64 wide
docker network create -d ournet --ipam-driver ournet --ipv6 --subnet 172.30.0.0/16 --ip-range 172.30.5.0/24 --subnet fd00:30::/64 --ip-range fd00:30::/80 ranged
docker run -d --name c0 --network wide --ip 172.28.99.88 --ip6 fd00:28::9988 --link-local-ip fe80::254:66 busybox sleep 1d
docker network connect --ip 172.30.5.44 --ip6 fd00:30::5544 --link-local-ip 169.254.7.7 ranged c0
docker create --name c1 busybox sleep 1d
docker network connect --ip 172.30.55.44 --ip6 fd00:30::1:0:0:5544 --link-local-ip 169.254.8.8 ranged c1
docker start c1
`

func TestAddress_thatWasAskedForIsKept(t *testing.T) {
	each(t, func(h *host) {
		h.all(addressLines)
		for _, when := range []string{"at first", "after a restart"} {
			h.hasAddresses(when, "c0", "wide", "172.28.99.88", "fd00:28::9988", "fe80::254:66")
			h.hasAddresses(when, "c0", "ranged", "172.30.5.44", "fd00:30::5544", "169.254.7.7")
			h.hasAddresses(when, "c1", "ranged", "172.30.55.44", "fd00:30::1:0:0:5544", "169.254.8.8")
			for _, target := range []string{"c1", "172.30.55.44", "fd00:30::1:0:0:5544", "169.254.8.8"} {
				h.reaches("c0", target)
			}
			h.reaches("c1", "169.254.7.7")
			if when == "at first" {
				h.run("docker restart c0 c1")
			}
		}
		h.refuses("docker run --rm --network wide --ip 172.28.99.88 busybox true", "in use")
		// Who talked to the former holder of an address finds the next one.
		h.run("docker run -d --name client --network wide busybox sleep 1d")
		h.reaches("client", "172.28.99.88")
		h.reaches("client", "fd00:28::9988")
		h.reaches("client", "fe80::254:66%eth0")
		h.run("docker rm -f c0")
		h.run("docker run -d --name next --network wide --ip 172.28.99.88 --ip6 fd00:28::9988 busybox sleep 1d")
		h.hasAddresses("then", "next", "wide", "172.28.99.88", "fd00:28::9988")
		h.reaches("client", "172.28.99.88")
		h.reaches("client", "fd00:28::9988")
	})
}

// all runs commands, a line each.
func (h *host) all(lines string) {
	h.Helper()
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		h.run(strings.TrimSpace(line))
	}
}

// hasAddresses asserts which addresses a container has on a network, as the engine
// shows it and in the container, and which more it has there.
func (h *host) hasAddresses(when, name, network, address, address6 string, more ...string) {
	h.Helper()
	a := h.container(name).NetworkSettings.Networks[network]
	if a.IPAddress != address || a.GlobalIPv6Address != address6 {
		h.Errorf("%s inspect shows %s on %s with %s and %s, want %s and %s", when, name, network, a.IPAddress, a.GlobalIPv6Address, address, address6)
	}
	inside := h.run("docker exec " + name + " ip -o address")
	for _, want := range append(more, address, address6) {
		if want == "" {
			continue
		}
		if !strings.Contains(inside, " "+want+"/") {
			h.Errorf("%s %s lacks %s:\n%s", when, name, want, inside)
		}
	}
}

// Of a network without --subnet Engine 20.10 refuses any address that is asked for,
// today's those that are not of the subnet that it got.
func TestAddress_ofANetworkWithoutSubnet(t *testing.T) {
	each(t, func(h *host) {
		h.run("docker network create -d ournet --ipam-driver ournet n")
		subnet := h.network("n").IPAM.Config[0].Subnet
		inside := strings.TrimSuffix(subnet, "0/24") + "77"
		if h.Engine == lab.Engine2010 {
			h.refuses("docker run --rm --network n --ip "+inside+" busybox true", "user configured subnets")
			return
		}
		h.refuses("docker run --rm --network n --ip 172.28.99.88 busybox true", "172.28.99.88", "subnet")
		h.refuses("docker run --rm --network n --ip6 fd00:28::9988 busybox true", "fd00:28::9988", "subnet")
		if out := h.run("docker run --rm --network n --ip " + inside + " busybox ip -o address"); !strings.Contains(out, inside+"/24") {
			h.Errorf("the container lacks %s:\n%s", inside, out)
		}
	})
}

// A range may have 64 bits, and end where 64 bits end; ipam's own tests have more.
func TestAddress_64BitRanges(t *testing.T) {
	each(t, func(h *host) {
		const create = "docker network create -d ournet --ipam-driver ournet --ipv6 "
		h.run(create + "--subnet fd2e:b68c:ce26::/64 --ip-range fd2e:b68c:ce26::/64 --gateway fd2e:b68c:ce26::1 whole")
		const first, last = "fda9:8d04:86e:aa:ffff:ffff:ffff:fffe", "fda9:8d04:86e:aa:ffff:ffff:ffff:ffff"
		h.run(create + "--subnet fda9:8d04:86e::/56 --ip-range " + first + "/127 n")
		h.run("docker run -d --name c1 --network n busybox sleep 1d")
		h.run("docker run -d --name c2 --network n busybox sleep 1d")
		h.hasAddresses("first", "c1", "n", h.address("c1", "n"), first)
		h.hasAddresses("then", "c2", "n", h.address("c2", "n"), last)
		h.reaches("c1", last)
		h.refuses("docker run --rm --network n busybox true", "2 of the 2 addresses")
	})
}

// The engine asks the first pool of a network and takes no other when that is full, so
// the plugin answers out of the next one.
func TestAddress_nextSubnetWhenTheFirstIsFull(t *testing.T) {
	each(t, func(h *host) {
		h.run("docker network create -d ournet --ipam-driver ournet --subnet 10.77.0.0/24 --ip-range 10.77.0.8/31 " +
			"--subnet 10.78.0.0/28 --gateway 10.77.0.1 --gateway 10.78.0.9 --aux-address a=10.77.0.9 --aux-address b=10.78.0.2 two")
		for _, c := range []struct{ name, address, gateway string }{
			{"c1", "10.77.0.8", "10.77.0.1"}, {"c2", "10.78.0.1", "10.78.0.9"}, {"c3", "10.78.0.3", "10.78.0.9"},
		} {
			h.run("docker run -d --name " + c.name + " --network two busybox sleep 1d")
			h.hasAddresses("at first", c.name, "two", c.address, "")
			if got := h.container(c.name).NetworkSettings.Networks["two"].Gateway; got != c.gateway {
				h.Errorf("%s has the gateway %s, want %s", c.name, got, c.gateway)
			}
			if routes := h.run("docker exec " + c.name + " ip route"); !strings.Contains(routes, "default via "+c.gateway+" ") {
				h.Errorf("%s has no default route by %s:\n%s", c.name, c.gateway, routes)
			}
		}
		for _, from := range []string{"c1", "c2", "c3"} {
			for _, to := range []string{"10.77.0.8", "10.78.0.1", "10.78.0.3", "10.77.0.1", "10.78.0.9"} {
				h.reaches(from, to)
			}
		}
		h.run("docker restart c2")
		h.hasAddresses("after a restart", "c2", "two", "10.78.0.1", "")
		// Whatever pool the engine believes an address to be of, it is free again.
		h.run("docker rm -f c1 c2")
		h.run("docker run -d --name c4 --network two busybox sleep 1d")
		h.hasAddresses("then", "c4", "two", "10.77.0.8", "")
		h.run("docker run -d --name c5 --network two --ip 10.78.0.1 busybox sleep 1d")
		h.hasAddresses("then", "c5", "two", "10.78.0.1", "")
		h.reaches("c4", "10.78.0.1")
	})
}
