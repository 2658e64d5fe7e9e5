package e2e

import (
	"testing"
)

// Tutorial, step 15: an endpoint whose container ended with the engine can be forced
// off its network, and then its container's name and address are free.
func TestStale_endpointIsDisconnectedByForce(t *testing.T) {
	eachIPAM(t, func(h *host, ipam string) {
		h.run("docker network create -d ournet " + ipam + "--subnet 172.25.0.0/16 isolated_nw")
		h.run("docker run -d --name stale --network isolated_nw --ip 172.25.3.3 busybox sleep 1d")
		h.run("docker run -d --name other --network isolated_nw --restart always busybox sleep 1d")
		if err := h.crashEngine(); err != nil {
			h.Fatal(err)
		}
		h.run("docker network disconnect -f isolated_nw stale")
		h.run("docker rm -f stale")
		h.run("docker run -d --name stale --network isolated_nw --ip 172.25.3.3 busybox sleep 1d")
		h.attached("isolated_nw", "stale", "172.25.3.3/16", "02:42:ac:19:03:03")
		h.reaches("other", "stale")

		// The same with a container that runs.
		h.run("docker network disconnect -f isolated_nw stale")
		h.run("docker run -d --name next --network isolated_nw --ip 172.25.3.3 busybox sleep 1d")
		h.reaches("other", "next")
	})
}
