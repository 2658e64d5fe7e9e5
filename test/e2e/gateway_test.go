package e2e

import (
	"strings"
	"testing"
)

func TestGatewayDocker_portsAreTheEnginesAndShown(t *testing.T) {
	eachBackend(t, func(h *host) {
		h.run("docker network create -d ournet -o ournet.gateway=docker shown")
		h.run("docker network create -d ournet other")
		h.run("docker run -d --restart always --name server --network shown -p 8085:6379 redis")
		h.run("docker run -d --name neighbour --network shown busybox sleep 1d")
		h.run("docker run -d --name stranger --network other busybox sleep 1d")
		published := h.Address().String() + ":8085"
		show := func(when string) {
			h.Helper()
			if out := h.run("docker port server 6379/tcp"); !strings.Contains(out, "0.0.0.0:8085") {
				h.Errorf("%s docker port shows %q", when, out)
			}
			if out := h.docker("ps", "--filter", "name=server", "--format", "{{.Ports}}"); !strings.Contains(out, "0.0.0.0:8085->6379/tcp") {
				h.Errorf("%s docker ps shows %q", when, out)
			}
			h.calledFromOutside("tcp", published)
		}
		show("at first")
		if out := h.run("docker exec server ip -o -4 address show dev eth0"); !strings.Contains(out, h.address("server", "shown")) {
			h.Errorf("eth0 is not on the network: %s", out)
		}
		if out := h.run("docker exec server ip route"); !strings.Contains(out, "dev eth1") || strings.Contains(out, "default via "+h.network("shown").IPAM.Config[0].Gateway) {
			h.Errorf("the default route is not by docker_gwbridge:\n%s", out)
		}
		if seen := h.seenOutside("neighbour", "tcp"); seen != h.Address().String() {
			h.Errorf("the outside sees %s, want the host's address", seen)
		}
		h.called(h.Machine, "tcp", published)
		h.run("docker exec stranger probe who tcp " + published)
		h.reaches("neighbour", "server")
		h.reachesNot("stranger", h.address("server", "shown"))
		h.reachesNot("server", h.address("stranger", "other"))
		gw := strings.Fields(h.run("docker exec server ip -o -4 address show dev eth1"))[3]
		h.reachesNot("stranger", strings.Split(gw, "/")[0])
		h.run("docker restart -t 1 server")
		show("after a restart")
		h.refuses("docker network create -d ournet --internal -o ournet.gateway=docker closed", "--internal", "ournet.gateway")
	})
}
