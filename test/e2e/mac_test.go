package e2e

import (
	"strings"
	"testing"
)

// A MAC address follows from the container's own address, so that it changes hands
// only together with that, unless one was asked for.
func TestMAC_isOneContainersAlone(t *testing.T) {
	each(t, func(h *host) {
		const chosen = "02:42:ac:11:00:42"
		h.all(`
			docker network create -d ournet --ipam-driver ournet --subnet 172.27.0.0/24 n
			docker run -d --name c1 --network n busybox sleep 1d
			docker run -d --name chosen --network n --mac-address ` + chosen + ` busybox sleep 1d
			docker run -d --name plain --mac-address 02:42:ac:11:00:43 busybox sleep 1d
			docker network connect n plain
			docker stop c1
			docker run -d --name c2 --network n busybox sleep 1d
			docker start c1`)
		seen := map[string]string{}
		for _, name := range []string{"c1", "chosen", "plain", "c2"} {
			mac := h.container(name).NetworkSettings.Networks["n"].MacAddress
			if other, taken := seen[mac]; taken || mac == "" {
				h.Errorf("%s has the MAC address %q of %s", name, mac, other)
			}
			seen[mac] = name
			if out := h.run("docker exec " + name + " ip link"); !strings.Contains(out, mac) {
				h.Errorf("%s has no interface with the MAC address %s that inspect shows:\n%s", name, mac, out)
			}
			config := h.docker("inspect", "--format", "{{json .Config}}{{json .HostConfig}}", name)
			if name != "chosen" && strings.Contains(config, mac) {
				h.Errorf("the MAC address of %s is among its settings:\n%s", name, config)
			}
		}
		if seen[chosen] != "chosen" {
			h.Errorf("the MAC address that was asked for is that of %q", seen[chosen])
		}
		if mac := h.container("plain").NetworkSettings.Networks["bridge"].MacAddress; mac != "02:42:ac:11:00:43" {
			h.Errorf("on its first network plain has the MAC address %s", mac)
		}
		h.run("docker restart chosen")
		h.attached("n", "chosen", h.address("chosen", "n")+"/24", chosen)
		h.reaches("c1", "chosen")
		h.reaches("chosen", "c2")
	})
}
