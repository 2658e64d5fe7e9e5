package e2e

import (
	"maps"
	"net/netip"
	"strings"
	"testing"
)

// restartLines make containers that nobody starts again, with all that can be said of
// their attachments.
const restartLines = `
docker network create -d ournet --ipam-driver ournet --ipv6 --subnet 172.31.1.0/24 --subnet fd00:31:1::/64 n1
docker network create -d ournet --ipam-driver ournet --ipv6 --subnet 0.0.0.0/26 --subnet ::/120 n2
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

// What was said of containers that ended with the engine, or never ran, is still there
// when they start. How it is after a crash, [TestRecovery_bringsAllBackAndLeaksNothing]
// shows.
func TestRestart_keepsWhatWasSaidOfContainers(t *testing.T) {
	each(t, func(h *host) {
		h.all(restartLines)
		subnets := h.subnetsOf("many")
		// Of n2 only the lengths were said.
		for _, want := range []struct {
			network, begins string
			length          int
		}{{"n2", "10.", 26}, {"n2 IPv6", "fd", 120}} {
			if got := subnets[want.network]; !strings.HasPrefix(got.String(), want.begins) || got.Bits() != want.length {
				h.Errorf("%s has the subnet %s, want %s.../%d", want.network, got, want.begins, want.length)
			}
		}
		if err := h.RestartEngine(h.ctx); err != nil {
			h.Fatal(err)
		}
		h.run("docker start many chosen created left")
		if after := h.subnetsOf("many"); !maps.Equal(subnets, after) {
			h.Errorf("the subnets are %v, before they were %v", after, subnets)
		}
		h.attachedAre("n2", "many")
		h.attachedAre("n3", "many")
		h.attached("n1", "chosen", "172.31.1.88/24", "02:42:ac:11:00:42")
		h.hasAddresses("after the restart", "chosen", "n1", "172.31.1.88", "fd00:31:1::88")
		h.reaches("many", "created")
		h.reaches("created", "chosen")
		h.badAddress("chosen", "left")
	})
}

// subnetsOf returns the subnets that the container sees, by network. What Engine 20.10
// shows of a network is what was asked for.
func (h *host) subnetsOf(container string) map[string]netip.Prefix {
	h.Helper()
	subnets := map[string]netip.Prefix{}
	add := func(network, address string, length int) {
		addr, err := netip.ParseAddr(address)
		if err != nil {
			h.Fatalf("%s on %s: %v", container, network, err)
		}
		subnets[network] = netip.PrefixFrom(addr, length).Masked()
	}
	for name, a := range h.container(container).NetworkSettings.Networks {
		add(name, a.IPAddress, a.IPPrefixLen)
		if a.GlobalIPv6Address != "" {
			add(name+" IPv6", a.GlobalIPv6Address, a.GlobalIPv6PrefixLen)
		}
	}
	return subnets
}
