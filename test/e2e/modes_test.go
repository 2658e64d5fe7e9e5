package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

const optPrefix = "com.docker.network."

// dual makes a network with subnets of the host's own, to which the outside has routes,
// and returns what its bridge is called.
func (h *host) dual(number int, name, options string) (bridge string) {
	h.Helper()
	v4, v6 := h.ownSubnets(number)
	h.routeFromOutside(v4)
	h.routeFromOutside(v6)
	id := h.run(fmt.Sprintf("docker network create -d ournet --ipv6 --subnet %s --subnet %s %s %s", v4, v6, options, name))
	return "on-" + id[:12]
}

// endpoints returns the addresses of a port of a container, of IPv4 and IPv6.
func (h *host) endpoints(container, network, port string) []string {
	h.Helper()
	a := h.container(container).NetworkSettings.Networks[network]
	return []string{net.JoinHostPort(a.IPAddress, port), net.JoinHostPort(a.GlobalIPv6Address, port)}
}

// outsides are the addresses of the outside, in the order of endpoints.
func (h *host) outsides() []string {
	return []string{h.lab.Outside.Address().String(), h.lab.Outside.Address6().String()}
}

func TestGatewayMode_routedAndUnprotected(t *testing.T) {
	eachBackend(t, func(h *host) {
		const modes = "-o " + optPrefix + "bridge.gateway_mode_ipv4=%s -o " + optPrefix + "bridge.gateway_mode_ipv6=%s"
		h.dual(1, "routed", fmt.Sprintf(modes, "routed", "routed"))
		h.dual(2, "unprotected", fmt.Sprintf(modes, "nat-unprotected", "nat-unprotected"))
		h.dual(3, "plain", fmt.Sprintf(modes, "nat", "nat"))
		h.run("docker run -d --name server --network routed -p 8090:6379 redis")
		h.run("docker run -d --name unpublished --network unprotected redis")
		h.run("docker run -d --name neighbour --network plain redis")
		h.run("docker run -d --name stranger busybox sleep 1d")
		for i, addr := range h.endpoints("server", "routed", "6379") {
			if seen := h.calledFromOutside("tcp", addr); seen != h.outsides()[i] {
				h.Errorf("the server saw %s, want the outside's own %s", seen, h.outsides()[i])
			}
			h.deaf(h.lab.Outside, "udp", addr)
			h.hears("neighbour", "tcp", addr, true)
			h.hears("stranger", "tcp", addr, i == 0) // it has no IPv6
		}
		h.deaf(h.lab.Outside, "tcp", h.Address().String()+":8090")
		for i, addr := range h.endpoints("unpublished", "unprotected", "6379") {
			if seen := h.calledFromOutside("tcp", addr); seen != h.outsides()[i] {
				h.Errorf("the server saw %s, want the outside's own %s", seen, h.outsides()[i])
			}
			h.hears("neighbour", "tcp", addr, true)
			h.hears("stranger", "tcp", addr, i == 0)
		}
		for _, addr := range h.endpoints("neighbour", "plain", "6379") {
			h.deaf(h.lab.Outside, "tcp", addr)
			h.hears("server", "tcp", addr, false)
		}
		host, host6 := h.Address().String(), h.Address6().String()
		own := h.container("server").NetworkSettings.Networks["routed"]
		for name, want := range map[string][2]string{
			"server": {own.IPAddress, own.GlobalIPv6Address}, "unpublished": {host, host6}, "neighbour": {host, host6},
		} {
			if got := [2]string{h.seenOutside(name, "tcp"), h.seenOutside6(name, "udp")}; got != want {
				h.Errorf("of %s the outside sees %s, want %s", name, got, want)
			}
		}
	})
}

func TestGatewayMode_isolated(t *testing.T) {
	each(t, func(h *host) {
		const modes = "-o " + optPrefix + "bridge.gateway_mode_ipv4=isolated -o " + optPrefix + "bridge.gateway_mode_ipv6=isolated "
		bridge := h.dual(1, "closed", "--internal "+modes)
		h.run("docker run -d --name c1 --network closed busybox sleep 1d")
		h.run("docker run -d --name c2 --network closed busybox sleep 1d")
		if out := h.run("ip -o address show dev " + bridge); out != "" {
			h.Errorf("the bridge has addresses:\n%s", out)
		}
		c2 := h.container("c2").NetworkSettings.Networks["closed"]
		for _, addr := range []string{c2.IPAddress, c2.GlobalIPv6Address} {
			h.reaches("c1", addr)
			if _, err := h.try("ping -c 1 -W 1 " + addr); err == nil {
				h.Errorf("the host reaches %s", addr)
			}
		}
		h.refuses("docker network create -d ournet "+modes+"open", "isolated", "--internal")
		h.refuses("docker network create -d ournet -o "+optPrefix+"bridge.gateway_mode_ipv4=bridged x", "bridged", `did you mean "`)
		h.refuses("docker network create -d ournet -o "+optPrefix+"bridge.gateway_mode_ipv4=routed -o "+optPrefix+"bridge.enable_ip_masquerade=true x", "contradicts")
		h.refuses("docker network create -d ournet -o "+optPrefix+"bridge.default_bridge=true x", "docker0")
	})
}

// The source of masqueraded packets, devices that are trusted, and the interface's name.
func TestOption_sourceTrustAndName(t *testing.T) {
	eachBackend(t, func(h *host) {
		number := h.Address().As4()[3]
		alias, alias6 := fmt.Sprintf("10.99.0.%d", 210+number), fmt.Sprintf("2001:db8:99::%d", 210+number)
		for _, addr := range []string{alias + "/32", alias6 + "/128"} {
			// Not preferred: the host itself goes on with its first one.
			h.run("ip address add " + addr + " dev eth0 nodad preferred_lft 0")
			h.Cleanup(func() {
				if _, err := h.Exec(context.WithoutCancel(h.ctx), "ip", "address", "delete", addr, "dev", "eth0"); err != nil {
					h.Error(err)
				}
			})
		}
		h.dual(4, "own", fmt.Sprintf("-o %shost_ipv4=%s -o %shost_ipv6=%s -o %scontainer_iface_prefix=net -o %sbridge.trusted_host_interfaces=eth0",
			optPrefix, alias, optPrefix, alias6, optPrefix, optPrefix))
		h.run("docker run -d --name server --network own -p 127.0.0.1:8091:6379 -p [" + h.Address6().String() + "]:8091:6379 redis")
		h.run("docker run -d --name unpublished --network own redis")
		if got, want := [2]string{h.seenOutside("server", "tcp"), h.seenOutside6("server", "tcp")}, [2]string{alias, alias6}; got != want {
			h.Errorf("the outside sees %s, want %s", got, want)
		}
		for i, addr := range h.endpoints("server", "own", "6379") {
			if seen := h.calledFromOutside("tcp", addr); seen != h.outsides()[i] {
				h.Errorf("by a trusted device the server saw %s, want %s", seen, h.outsides()[i])
			}
		}
		h.deaf(h.lab.Outside, "tcp", h.endpoints("unpublished", "own", "6379")[0])
		h.deaf(h.lab.Outside, "tcp", h.Address().String()+":8091")
		if links := h.run("docker exec server ip -o link"); !strings.Contains(links, " net0@") || strings.Contains(links, "eth0") {
			h.Errorf("the interfaces are\n%s\nwant net0", links)
		}
	})
}

// The gateway's address where the user puts it, and another gateway than the bridge.
func TestOption_inhibitAndOtherGateway(t *testing.T) {
	each(t, func(h *host) {
		v4, _ := h.ownSubnets(5)
		base := strings.TrimSuffix(v4, "0/24")
		id := h.run("docker network create -d ournet -o " + optPrefix + "bridge.inhibit_ipv4=true --subnet " + v4 + " --gateway " + base + "1 inhibited")
		bridge := "on-" + id[:12]
		h.run("docker run -d --name c1 --network inhibited busybox sleep 1d")
		if out := h.run("ip -o -4 address show dev " + bridge); out != "" {
			h.Errorf("the bridge has an address: %s", out)
		}
		if out := h.run("docker exec c1 ip route"); !strings.Contains(out, "default via "+base+"1 ") {
			h.Errorf("the container has the routes\n%s", out)
		}
		h.reachesNot("c1", h.lab.Outside.Address().String())
		h.run("ip address add " + base + "1/24 dev " + bridge)
		h.run("docker run -d --name c2 --network inhibited busybox sleep 1d") // a change to the network leaves it alone
		h.reaches("c1", h.lab.Outside.Address().String())
		h.reaches("c2", h.lab.Outside.Address().String())

		v4, _ = h.ownSubnets(6)
		base = strings.TrimSuffix(v4, "0/24")
		h.run("docker network create -d ournet --subnet " + v4 + " --aux-address DefaultGatewayIPv4=" + base + "254 elsewhere")
		if out := h.run("docker run --rm --network elsewhere busybox ip route"); !strings.Contains(out, "default via "+base+"254 ") {
			h.Errorf("the container has the routes\n%s", out)
		}
	})
}

// What an endpoint's own options say: the engine sets kernel settings of the interface,
// and today's lets us say what it is called.
func TestOption_ofOneAttachment(t *testing.T) {
	each(t, func(h *host) {
		v4, v6 := h.ownSubnets(7)
		h.run("docker network create -d ournet --ipam-driver ournet --ipv6 --subnet " + v4 + " --subnet " + v6 + " dual")
		h.run("docker run -d --name c1 busybox sleep 1d")
		h.run("docker network connect --driver-opt com.docker.network.endpoint.ifname=lan0 --driver-opt some.other=1 dual c1")
		links, name := h.run("docker exec c1 ip -o link"), " lan0@"
		if h.Engine == lab.Engine2010 {
			name = " eth1@" // it leaves us no word in that
		}
		if !strings.Contains(links, name) {
			h.Errorf("the interfaces are\n%s\nwant %s", links, name)
		}
		h.refuses("docker network connect --driver-opt com.docker.network.endpoint.ifname=a/b dual "+h.run("docker run -d busybox sleep 1d"), "a/b")
		if h.Engine == lab.Engine2010 {
			return
		}
		// The engine gives the IPv6 address back as soon as we have joined.
		const off = "driver-opt=com.docker.network.endpoint.sysctls=net.ipv6.conf.IFNAME.disable_ipv6=1"
		h.docker("run", "-d", "--name", "c2", "--network", "name=dual,"+off, "-p", "8098:6379", lab.ServerImage)
		h.calledFromOutside("tcp", h.Address().String()+":8098")
		h.hears("c1", "tcp", h.address("c2", "dual")+":6379", true)
		if out := h.run("docker exec c2 ip -6 -o address show dev eth0"); out != "" {
			h.Errorf("the container has %s", out)
		}
		h.run("docker restart -t 1 c2")
		h.calledFromOutside("tcp", h.Address().String()+":8098")
		address6 := strings.Replace(v6, "::/64", "::3", 1) // the next after the gateway's and c1's
		if out := h.run("docker run --rm --network dual --ip6 " + address6 + " busybox ip -6 -o address"); !strings.Contains(out, address6) {
			h.Errorf("its address goes to nobody else: %s", out)
		}
	})
}
