package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// calls runs in a container: it calls every address by both protocols and prints
// whom the server saw, a line each.
const calls = `for a in "$@"; do for p in tcp udp; do echo "$p $a $(probe who -timeout 5s $p $a 2>&1)"; done; done`

// sees asserts that the server answers the container's calls by TCP and UDP to each
// address. The socket of a call takes an answer from that address only. What the
// server saw is one of want.
func (h *host) sees(container string, addresses []string, want ...string) {
	h.Helper()
	out := h.docker(append([]string{"exec", container, "sh", "-c", calls, "calls"}, addresses...)...)
	lines := strings.Split(out, "\n")
	if len(lines) != 2*len(addresses) {
		h.Errorf("%s calls %v:\n%s", container, addresses, out)
	}
	for _, line := range lines {
		seen, _, err := net.SplitHostPort(line[strings.LastIndexByte(line, ' ')+1:])
		if err != nil || !slices.Contains(want, seen) {
			h.Errorf("%s calls %q, want that the server sees one of %v", container, line, want)
		}
	}
}

// addresses returns a container's addresses on a network.
func (h *host) addresses(name, network string) []string {
	h.Helper()
	a := h.container(name).NetworkSettings.Networks[network]
	return []string{a.IPAddress, a.GlobalIPv6Address}
}

// Whoever calls a published port is answered, by either protocol and both families,
// from the address that was called; whether containers of the network may call each
// other directly does not matter.
func TestPublish_answersFromEverywhere(t *testing.T) {
	eachBackend(t, func(h *host) {
		h.run("docker network create -d ournet --ipv6 --subnet 10.225.1.0/24 --subnet fd00:225:1::/64 web")
		h.run("docker network create -d ournet --ipv6 --subnet 10.225.2.0/24 --subnet fd00:225:2::/64 -o com.docker.network.bridge.enable_icc=false closed")
		h.run("docker network create -d ournet --ipv6 --subnet 10.225.3.0/24 --subnet fd00:225:3::/64 other")
		h.run("docker network create user")
		h.run("docker run -d --name stranger --network other busybox sleep 1d")
		h.run("docker run -d --name plain busybox sleep 1d")
		h.run("docker run -d --name user --network user busybox sleep 1d")
		for _, tc := range []struct {
			network, port string
			gateways      []string
		}{
			{"web", "8083", []string{"10.225.1.1", "fd00:225:1::1"}},
			{"closed", "8084", []string{"10.225.2.1", "fd00:225:2::1"}},
		} {
			network, port, gateways := tc.network, tc.port, tc.gateways
			server, neighbour := "in-"+network, "beside-"+network
			h.run(fmt.Sprintf("docker run -d --name %s --network %s -p %s:6379 -p %s:6379/udp redis", server, network, port, port))
			h.run(fmt.Sprintf("docker run -d --name %s --network %s busybox sleep 1d", neighbour, network))
			v4, v6 := net.JoinHostPort(h.Address().String(), port), net.JoinHostPort(h.Address6().String(), port)
			for _, protocol := range []string{"tcp", "udp"} {
				for called, want := range map[string]string{v4: h.lab.Outside.Address().String(), v6: h.lab.Outside.Address6().String()} {
					if seen := h.calledFromOutside(protocol, called); seen != want {
						h.Errorf("by %s the server saw %s, want the outside's own address %s", protocol, seen, want)
					}
				}
				for _, called := range []string{v4, v6, "127.0.0.1:" + port} {
					h.called(h.Machine, protocol, called)
				}
			}
			// It is ::1 first, which refuses at once.
			h.called(h.Machine, "tcp", "localhost:"+port)
			both := []string{v4, v6, net.JoinHostPort(gateways[0], port), net.JoinHostPort(gateways[1], port)}
			h.sees(server, both, gateways...)
			h.sees(neighbour, both, gateways...)
			h.sees("stranger", both, h.addresses("stranger", "other")...)
			h.sees("plain", []string{v4}, gateways[0])
			h.sees("user", []string{v4}, gateways[0])
			h.run("docker rm -f " + server)
			h.deaf(h.lab.Outside, "tcp", v4)
			h.deaf(h.Machine, "tcp", "127.0.0.1:"+port)
		}
	})
}

// On either side it is the usual error, and who is refused leaves nothing.
func TestPublish_aPortIsOneOwnersAlone(t *testing.T) {
	each(t, func(h *host) {
		h.run("docker network create -d ournet web")
		h.run("docker run -d --name server --network web -p 8083:6379 -p 127.0.0.1:8086:6379/udp redis")
		probe, err := h.lab.Probe(h.ctx)
		if err != nil {
			h.Fatal(err)
		}
		h.refuses(probe+" serve -tcp 0.0.0.0:8083", "address already in use")
		h.refuses(probe+" serve -tcp 127.0.0.1:8083", "address already in use")
		h.refuses(probe+" serve -udp 127.0.0.1:8086", "address already in use")

		program, err := h.Start(h.ctx, probe, "serve", "-tcp", "127.0.0.1:8087")
		if err != nil {
			h.Fatal(err)
		}
		if err := lab.Poll(h.ctx, "a program of the host", func() error {
			if !strings.Contains(program.Output(), "ready") {
				return fmt.Errorf("it says %q", program.Output())
			}
			return nil
		}); err != nil {
			h.Fatal(err)
		}
		before := h.published("docker ournet ports")
		for port, why := range map[string]string{
			"8083:6379":              "by the published port 0.0.0.0:8083/tcp",
			"127.0.0.1:8083:6379":    "by the published port 0.0.0.0:8083/tcp",
			"0.0.0.0:8086:6379/udp":  "by the published port 127.0.0.1:8086/udp",
			"8087:6379":              "host port 0.0.0.0:8087/tcp is already in use",
			"192.0.2.77:8088:6379":   "192.0.2.77 is not an address of this host",
			"[::1]:8088:6379":        "no address of that family",
			"8087-8087:6379":         "8087/tcp is already in use",
			"127.0.0.1:8083-8083:53": "8083/tcp",
		} {
			h.refuses("docker run -d --name second --network web -p 8090:6379 -p "+port+" redis", why)
			// Not `docker start second`: after a refused start Engine 29 starts it
			// without any network, with its own bridge driver as well.
			h.run("docker rm second")
		}
		if after := h.published("docker ournet ports"); !slices.Equal(before, after) {
			h.Errorf("after refusals these are published: %v, before: %v", after, before)
		}
		if n := len(h.network("web").Containers); n != 1 {
			h.Errorf("%d containers are on the network, want the server alone", n)
		}
		if _, err := program.Stop(); err != nil {
			h.Fatal(err)
		}
		h.run("docker rm -f server")
		h.run("docker run -d --name second --network web -p 8083:6379 -p 8087:6379 redis")
		h.calledFromOutside("tcp", h.Address().String()+":8083")
		h.calledFromOutside("tcp", h.Address().String()+":8087")
	})
}

// -P and ranges: the same host ports at the next start, another where they are taken.
func TestPublish_chosenPortsComeBack(t *testing.T) {
	each(t, func(h *host) {
		h.run("docker network create -d ournet --ipam-driver ournet web")
		h.run("docker run -d --name any --network web -P redis")
		h.run("docker run -d --name first --network web -p 8000-8001:6379 -p 80:6379 -p 81:6379 redis")
		h.run("docker run -d --name second --network web -p 8000-8001:6379 redis")
		h.refuses("docker run -d --name third --network web -p 8000-8001:6379 redis", "8000 to 8001 are all taken")
		h.run("docker rm third")
		before := h.published("docker ournet ports")
		h.assertPublishedIs(before, "after a restart of the containers", func() {
			h.run("docker restart -t 1 any")
			// One after the other: Engine 20.10 tells address managers no name, so the
			// address that was released last comes back first.
			h.run("docker stop -t 1 first")
			h.run("docker stop -t 1 second")
			h.run("docker start second")
			h.run("docker start first")
		})
		h.assertPublishedIs(before, "after a restart of the plugin", func() {
			h.killPlugin()
			h.run("docker restart -t 1 any")
		})
		h.areTrue(before)

		port := h.published("docker ournet ports any")[0].HostPort
		h.run("docker stop -t 1 any")
		probe, err := h.lab.Probe(h.ctx)
		if err != nil {
			h.Fatal(err)
		}
		program, err := h.Start(h.ctx, probe, "serve", "-tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			h.Fatal(err)
		}
		h.called(h.Machine, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		h.run("docker start any")
		for _, p := range h.published("docker ournet ports any") {
			if p.HostPort == port && p.Protocol == "tcp" {
				h.Errorf("the port of another program is published: %v", p)
			}
		}
		if _, err := program.Stop(); err != nil {
			h.Fatal(err)
		}
	})
}

func (h *host) assertPublishedIs(want []publishedPort, when string, after func()) {
	h.Helper()
	after()
	if got := h.published("docker ournet ports"); !slices.Equal(got, want) {
		h.Errorf("%s: published are\n%v\nwant\n%v", when, got, want)
	}
}

// The engine publishes through the network that is the container's gateway, which
// changes as networks come and go.
func TestPublish_portsFollowTheGateway(t *testing.T) {
	each(t, func(h *host) {
		for _, name := range []string{"aaa", "mmm", "zzz"} {
			h.run("docker network create -d ournet " + name)
		}
		h.run("docker network create own")
		published := h.Address().String() + ":8083"
		answers := func(when string) {
			h.Helper()
			for _, protocol := range []string{"tcp", "udp"} {
				h.calledFromOutside(protocol, published)
				h.called(h.Machine, protocol, "127.0.0.1:8083")
			}
			list := h.published("docker ournet ports server")
			if len(list) != 2 {
				h.Errorf("%s: published are %v, want two ports", when, list)
			}
		}
		hostPorts := func() (ports []int) {
			for _, p := range h.published("docker ournet ports any") {
				ports = append(ports, p.HostPort)
			}
			return ports
		}
		h.run("docker run -d --name any --network mmm -P redis")
		before := hostPorts()
		h.run("docker run -d --name server --network mmm -p 8083:6379 -p 8083:6379/udp redis")
		answers("at first")
		for _, step := range []string{"connect zzz", "connect aaa", "disconnect mmm", "connect mmm", "disconnect aaa", "disconnect zzz"} {
			h.run("docker network " + step + " server")
			answers("after " + step)
			h.run("docker network " + step + " any")
			if after := hostPorts(); !slices.Equal(before, after) {
				h.Errorf("after %s a running container has the host ports %v, it had %v", step, after, before)
			}
		}
		h.run("docker run -d --name plain --network own -p 8084:6379 redis")
		h.run("docker network connect mmm plain")
		h.calledFromOutside("tcp", h.Address().String()+":8084")
		h.run("docker network disconnect own plain")
		h.calledFromOutside("tcp", h.Address().String()+":8084")
	})
}
