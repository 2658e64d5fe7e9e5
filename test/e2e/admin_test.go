package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// What an administrator drops stays dropped, in the place that the engine has for it
// or in a table of one's own, and the policy of the FORWARD chain is nobody's of ours.
func TestAdministrator_dropsAndPolicyKeepTheirForce(t *testing.T) {
	eachBackend(t, func(h *host) {
		policies := func() string {
			return strings.Join(slices.DeleteFunc(h.state()["nft"], func(rule string) bool {
				return !strings.Contains(rule, "hook forward") || strings.Contains(rule, " ournet ")
			}), "\n")
		}
		before := policies()
		h.run("docker network create -d ournet web")
		h.run("docker run -d --name server --network web -p 8099:6379 redis")
		h.run("docker run -d --name neighbour --network web busybox sleep 1d")
		published, outside := h.Address().String()+":8099", h.lab.Outside.Address().String()
		h.calledFromOutside("tcp", published)
		if after := policies(); after != before {
			h.Errorf("the policies are\n%s\nthey were\n%s", after, before)
		}
		drop, undo := "iptables -I DOCKER-USER -s "+outside+" -j DROP", "iptables -D DOCKER-USER -s "+outside+" -j DROP"
		if h.Engine == lab.Engine29NFT {
			h.run("nft add table inet admin")
			h.run("nft add chain inet admin forward { type filter hook forward priority 0 ; }")
			drop, undo = "nft add rule inet admin forward ip saddr "+outside+" drop", "nft delete table inet admin"
		}
		h.run(drop)
		h.deaf(h.lab.Outside, "tcp", published)
		h.hears("neighbour", "tcp", "server:6379", true)
		h.hears("neighbour", "tcp", h.outside(), false) // what comes back is dropped
		h.run(undo)
		h.calledFromOutside("tcp", published)
	})
}
