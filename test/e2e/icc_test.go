package e2e

import (
	"context"
	"testing"
)

// Without br_netfilter, packets between containers of a network do not pass the packet
// filter; enable_icc=false holds all the same.
func TestOption_iccKeepsNeighboursApart(t *testing.T) {
	eachBackend(t, func(h *host) {
		published := h.Address().String() + ":8094"
		for i, filtered := range []string{"1", "0"} {
			h.bridgeFilter(filtered)
			h.dual(i+1, "apart", "-o "+optPrefix+"bridge.enable_icc=false")
			h.run("docker run -d --name server --network apart -p 8094:6379 redis")
			h.run("docker run -d --name neighbour --network apart busybox sleep 1d")
			for _, addr := range h.endpoints("server", "apart", "6379") {
				h.hears("neighbour", "tcp", addr, false)
				h.called(h.Machine, "tcp", addr)
			}
			server := h.container("server").NetworkSettings.Networks["apart"]
			h.reachesNot("neighbour", server.IPAddress)
			h.reachesNot("neighbour", server.GlobalIPv6Address)
			h.calledFromOutside("tcp", published)
			h.hears("neighbour", "tcp", published, true)
			h.hears("server", "tcp", published, true)
			h.seenOutside("neighbour", "tcp")
			h.seenOutside6("server", "tcp")
			h.run("docker rm -f server neighbour")
			h.run("docker network rm apart")
		}
	})
}

// bridgeFilter has bridged packets pass the packet filter, or not, until the test ends.
func (h *host) bridgeFilter(value string) {
	h.Helper()
	for _, key := range []string{"net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"} {
		before := h.run("sysctl -n " + key)
		h.run("sysctl -qw " + key + "=" + value)
		h.Cleanup(func() {
			if _, err := h.Exec(context.WithoutCancel(h.ctx), "sysctl", "-qw", key+"="+before); err != nil {
				h.Error(err)
			}
		})
	}
}
