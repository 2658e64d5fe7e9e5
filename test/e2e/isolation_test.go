package e2e

import (
	"testing"
)

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
