package e2e

import (
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// routeLines make networks whose names are in the order in which the engine prefers
// them as the way out, when nothing else is said.
const routeLines = `
docker network create -d ournet --ipv6 --subnet 10.230.1.0/24 --subnet fd00:230:1::/64 a
docker network create -d ournet --ipv6 --subnet 10.230.2.0/24 --subnet fd00:230:2::/64 b
docker network create -d ournet --ipv6 --subnet 10.230.3.0/24 --subnet fd00:230:3::/64 c
docker network create -d ournet --internal --subnet 10.230.4.0/24 aa
docker run -d --name web --network b -p 8088:6379 redis
`

func TestRoute_followsTheNetworkThatTheEnginePrefers(t *testing.T) {
	eachBackend(t, func(h *host) {
		h.all(routeLines)
		for _, step := range []struct{ line, number string }{
			{"docker network connect aa web", "2"},
			{"docker network connect c web", "2"},
			{"docker network connect a web", "1"},
			{"docker network disconnect a web", "2"},
			{"docker network disconnect b web", "3"},
			{"docker restart web", "3"},
			{"docker network disconnect c web", ""},
		} {
			h.run(step.line)
			h.wayOut(step.line, step.number)
		}
	})
}

// wayOut asserts by which network the container web goes out, and is reached at its
// published port; "" is none.
func (h *host) wayOut(when, number string) {
	h.Helper()
	published := h.Address().String() + ":8088"
	routes := h.docker("exec", "web", "sh", "-c", "ip route; ip -6 route")
	if number == "" {
		if strings.Contains(routes, "default") {
			h.Errorf("after %s the container has a default route:\n%s", when, routes)
		}
		h.deaf(h.lab.Outside, "tcp", published)
		return
	}
	for _, want := range []string{"default via 10.230." + number + ".1 ", "default via fd00:230:" + number + "::1 "} {
		if !strings.Contains(routes, want) {
			h.Errorf("after %s the container's routes lack %q:\n%s", when, want, routes)
		}
	}
	if seen := h.calledFromOutside("tcp", published); seen != h.lab.Outside.Address().String() {
		h.Errorf("after %s the published port saw %s, want the outside", when, seen)
	}
	ports := h.published("docker ournet ports")
	if len(ports) == 0 || !strings.Contains(ports[0].Address, "10.230."+number+".") {
		h.Errorf("after %s the published ports are %+v", when, ports)
	}
}

// Today's engine lets the user say which network it prefers.
func TestRoute_followsThePriority(t *testing.T) {
	eachOf(t, []lab.Engine{lab.Engine29}, func(h *host) {
		h.all(routeLines)
		for _, step := range []struct{ line, number string }{
			{"docker network connect --gw-priority -100 a web", "2"},
			{"docker network connect --gw-priority 100 c web", "3"},
			{"docker restart web", "3"},
			{"docker network disconnect c web", "2"},
			{"docker network disconnect b web", "1"},
		} {
			h.run(step.line)
			h.wayOut(step.line, step.number)
		}
		h.run("docker rm -f web")
		h.run("docker run -d --name web --network name=a,gw-priority=10 --network name=b,gw-priority=100 -p 8088:6379 redis")
		h.wayOut("run", "2")
	})
}
