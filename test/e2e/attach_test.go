package e2e

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/test/lab"
)

func TestAttach_isShownAndTakenBack(t *testing.T) {
	each(t, func(h *host) {
		h.run("docker network create -d ournet n")
		h.run("docker run -d --name first busybox sleep 1d")
		h.run("docker network connect n first")
		h.attachedAre("n", "first")
		h.run("docker network disconnect n first")
		h.attachedAre("n")
		h.run("docker run -d --network n --name second busybox sleep 1d")
		h.attachedAre("n", "second")
		h.run("docker network disconnect -f n second")
		h.attachedAre("n")

		// An engine takes a network's id before another one's name.
		id := h.network("n").ID
		h.run("docker network create -d ournet " + id[:12])
		h.run("docker network create -d ournet " + id)
		h.run("docker network rm " + id[:12])
		h.run("docker network rm " + id)
		if got := strings.Fields(h.run("docker network ls --filter type=custom --format {{.Name}}")); len(got) != 1 || got[0] != id {
			h.Errorf("the networks are %v, want the one whose name is the first's id", got)
		}
	})
}

// attachedAre asserts which containers the network shows, by container's own view
// also.
func (h *host) attachedAre(network string, want ...string) {
	h.Helper()
	var got []string
	for _, c := range h.network(network).Containers {
		got = append(got, c.Name)
		address, _, _ := strings.Cut(c.IPv4Address, "/")
		if own := h.address(c.Name, network); own != address {
			h.Errorf("%s shows %s at %s, the container shows %s", network, c.Name, address, own)
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		h.Errorf("network %s shows %v, want %v", network, got, want)
	}
}

// A driver may be called by the plugin's whole name.
func TestAttach_byThePluginsWholeName(t *testing.T) {
	each(t, func(h *host) {
		h.all(`
			docker network create -d ournet/ournet:latest --ipam-driver ournet/ournet:latest whole
			docker run -d --name c1 --network whole busybox sleep 1d`)
		h.reaches("c1", h.network("whole").IPAM.Config[0].Gateway)
	})
}

// The engine puts no names of others into a container's /etc/hosts.
func TestAttach_othersDoNotChangeAContainersFiles(t *testing.T) {
	each(t, func(h *host) {
		h.run("docker network create -d ournet n")
		h.run("docker network create -d ournet other")
		first := h.run("docker run -d --network n busybox sleep 1d")
		hosts := h.run("docker exec " + first + " cat /etc/hosts")
		second := h.run("docker run -d --network n busybox sleep 1d")
		h.run("docker network connect other " + second)
		h.run("docker run -d --network n --name named busybox sleep 1d")
		h.reaches(first, "named")
		h.reaches(second, "named")
		if now := h.run("docker exec " + first + " cat /etc/hosts"); now != hosts {
			h.Errorf("with others /etc/hosts is\n%s\nit was\n%s", now, hosts)
		}
		h.run("docker stop named")
		h.badAddress(first, "named")
		h.badAddress(second, "named")
		if now := h.run("docker exec " + first + " cat /etc/hosts"); now != hosts {
			h.Errorf("when one has ended /etc/hosts is\n%s\nit was\n%s", now, hosts)
		}
	})
}

// The engine fails after the plugin has done its part: the container has a default
// route of its own making.
func TestAttach_thatTheEngineFailsIsTakenBack(t *testing.T) {
	each(t, func(h *host) {
		h.all(`
			docker network create -d ournet --ipam-driver ournet --internal --subnet 192.168.123.0/24 --gateway 192.168.123.1 inner
			docker network create -d ournet --ipam-driver ournet --subnet 192.168.124.0/24 outer
			docker run -d --name client --cap-add NET_ADMIN --network inner busybox sleep 1d
			docker exec client ip route add default via 192.168.123.1`)
		before, records := h.settledState(), h.recordedNow()
		h.refuses("docker network connect --ip 192.168.124.9 outer client", "failed to set gateway", "file exists")
		h.attachedAre("outer")
		if links := h.run("docker exec client ip -o link"); strings.Contains(links, "eth1") {
			h.Errorf("the container has an interface:\n%s", links)
		}
		h.assertState(before, "after the failure")
		// Not [host.assertJustified]: the container itself still shows the network on
		// Engine 20.10.
		if diff := cmp.Diff(records, h.recordedNow()); diff != "" {
			h.Errorf("the failure changed the records (-before +after):\n%s", diff)
		}
		h.run("docker exec client ip route del default")
		h.run("docker network connect --ip 192.168.124.9 outer client")
		h.attachedAre("outer", "client")
		h.run("docker restart client")
		h.attachedAre("outer", "client")
	})
}

// recordedNow is [host.recorded], which reads a copy of a file in use, once it can be
// read.
func (h *host) recordedNow() []string {
	h.Helper()
	var lines []string
	h.eventually("the records", func() (err error) {
		lines, err = h.recorded()
		return err
	})
	return lines
}

// The plugin fails: something else has the bridge's name.
func TestAttach_thatThePluginFailsIsTakenBack(t *testing.T) {
	each(t, func(h *host) {
		h.all(`
			docker network create -d ournet --ipam-driver ournet --subnet 192.168.125.0/24 -o com.docker.network.bridge.name=lab0 n
			docker run -d --name other busybox sleep 1d
			docker create --name client --network n --ip 192.168.125.9 busybox sleep 1d`)
		records := h.recordedNow()
		h.eventually("another device by the bridge's name", func() error {
			// The plugin makes the bridge again, if it is quicker.
			_, gone := h.try("ip link delete lab0")
			_, err := h.try("ip link add lab0 type veth peer name lab1")
			return errors.Join(gone, err)
		})
		h.refuses("docker start client", "lab0")
		h.refuses("docker network connect --ip 192.168.125.9 n other", "lab0")
		h.attachedAre("n")
		if diff := cmp.Diff(records, h.recordedNow()); diff != "" {
			h.Errorf("the failures changed the records (-before +after):\n%s", diff)
		}
		h.run("ip link delete lab0")
		h.run("docker network create -d ournet more") // at which the plugin looks after all bridges
		h.eventually("the bridge", func() error {
			out, err := h.try("ip -o address show dev lab0")
			if err == nil && !strings.Contains(out, "192.168.125.1/24") {
				err = errors.New(out)
			}
			return err
		})
		// Not `docker start client`: see TestPublish_answersFromEverywhere.
		h.run("docker rm client")
		h.run("docker run -d --name client --network n --ip 192.168.125.9 busybox sleep 1d")
		h.attachedAre("n", "client")
		h.hasAddresses("later", "client", "n", "192.168.125.9", "")
		h.reaches("client", "192.168.125.1")
	})
}

// eventually waits for something.
func (h *host) eventually(what string, try func() error) {
	h.Helper()
	if err := lab.Poll(h.ctx, what, try); err != nil {
		h.Fatal(err)
	}
}
