package e2e

import (
	"testing"
)

func TestPublish_answersFromEverywhere(t *testing.T) {
	eachBackend(t, func(h *host) {
		h.run("docker network create -d ournet web")
		h.run("docker run -d --name server --network web -p 8083:6379 -p 8083:6379/udp redis")
		h.run("docker run -d --name neighbour --network web busybox sleep 1d")
		published := h.Address().String() + ":8083"
		for _, protocol := range []string{"tcp", "udp"} {
			if seen := h.calledFromOutside(protocol, published); seen != h.lab.Outside.Address().String() {
				h.Errorf("by %s the server saw %s, want the outside's own address", protocol, seen)
			}
			// From the host itself, and back from a container of the same network.
			h.called(h.Machine, protocol, published)
			h.called(h.Machine, protocol, "127.0.0.1:8083")
			h.run("docker exec neighbour probe who " + protocol + " " + published)
			h.run("docker exec server probe who " + protocol + " " + published)
		}
		h.refuses("docker run -d --name second --network web -p 8083:6379 redis", "8083")
		h.run("docker rm -f server")
		h.deaf(h.lab.Outside, "tcp", published)
		// Not `docker start second`: after a refused start Engine 29 starts it
		// without any network, with its own bridge driver as well.
		h.run("docker rm second")
		h.run("docker run -d --name second --network web -p 8083:6379 redis")
		h.calledFromOutside("tcp", published)
	})
}

func TestIsolation_betweenNetworks(t *testing.T) {
	eachBackend(t, func(h *host) {
		h.run("docker network create -d ournet red")
		h.run("docker network create -d ournet blue")
		h.run("docker run -d --name inred --network red busybox sleep 1d")
		h.run("docker run -d --name inblue --network blue busybox sleep 1d")
		h.run("docker run -d --name plain busybox sleep 1d")
		b, d := h.address("inblue", "blue"), h.address("plain", "bridge")
		h.reachesNot("inred", b)
		h.reachesNot("inred", d)
		h.reachesNot("plain", b)
		h.run("docker network connect blue inred")
		h.reaches("inred", b)
		h.reaches("inred", "inblue")
	})
}
