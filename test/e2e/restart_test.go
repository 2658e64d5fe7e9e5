package e2e

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// restartLines make containers that nobody starts again, with all that can be said of
// their attachments.
const restartLines = `
docker network create -d ournet --ipam-driver ournet --ipv6 --subnet 172.31.1.0/24 --subnet fd00:31:1::/64 n1
docker network create -d ournet --ipam-driver ournet n2
docker network create -d ournet n3
docker run -d --name many --network n1 busybox sleep 1d
docker network connect n2 many
docker network connect n3 many
docker run -d --name chosen --network n1 --mac-address 02:42:ac:11:00:42 --ip 172.31.1.88 --ip6 fd00:31:1::88 busybox sleep 1d
docker create --name created busybox sleep 1d
docker network connect n1 created
docker create --name left busybox sleep 1d
docker network connect n1 left
docker network disconnect n1 left
`

// Whichever way the engine ends, what was said of containers that ended with it, or
// never ran, is still there when they start.
func TestRestart_keepsWhatWasSaidOfContainers(t *testing.T) {
	each(t, func(h *host) {
		h.all(restartLines)
		subnets := h.subnets("n1", "n2", "n3")
		for _, event := range []struct {
			name string
			do   func() error
		}{
			{"restart", func() error { return h.RestartEngine(h.ctx) }},
			{"crash", h.crashEngine},
		} {
			if err := event.do(); err != nil {
				h.Fatal(err)
			}
			if diff := cmp.Diff(subnets, h.subnets("n1", "n2", "n3")); diff != "" {
				h.Errorf("after the %s the subnets are others (-before +after):\n%s", event.name, diff)
			}
			h.run("docker start many chosen created left")
			h.attachedAre("n2", "many")
			h.attachedAre("n3", "many")
			h.attached("n1", "chosen", "172.31.1.88/24", "02:42:ac:11:00:42")
			h.hasAddresses("after the "+event.name, "chosen", "n1", "172.31.1.88", "fd00:31:1::88")
			h.reaches("many", "created")
			h.reaches("created", "chosen")
			h.badAddress("chosen", "left")
		}
	})
}

// subnets returns the subnets of networks.
func (h *host) subnets(names ...string) []string {
	h.Helper()
	var all []string
	for _, name := range names {
		for _, c := range h.network(name).IPAM.Config {
			all = append(all, name+" "+c.Subnet)
		}
	}
	return all
}
