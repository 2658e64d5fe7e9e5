package e2e

import (
	"errors"
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
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

// A container on an internal network of the engine's does not get out of it by a port
// that ournet publishes; all it needs to try is its gateway. From the engine's other
// networks such ports are reached, and theirs from ours.
func TestIsolation_engineInternalNetworkStaysSo(t *testing.T) {
	eachBackend(t, func(h *host) {
		h.run("docker network create --internal --subnet 10.218.0.0/24 inner")
		h.run("docker network create --subnet 10.219.0.0/24 plain")
		h.run("docker network create -d ournet --ipam-driver ournet --subnet 10.220.0.0/24 red")
		h.run("docker run -d --name theirs --network plain -p 8194:80 busybox probe serve -tcp :80")
		h.run("docker run -d --name ours --network red -p 8195:80 busybox probe serve -tcp :80")
		h.run("docker run -d --name inside --network inner busybox sleep 1d")
		h.settledState() // of which the engine's bridges are a part
		h.hears("theirs", "tcp", h.Address().String()+":8195", true)
		h.hears("ours", "tcp", h.Address().String()+":8194", true)
		h.hears("inside", "tcp", "10.218.0.1:8195", false)
	})
}

// The engine's bridges are known by what the engine says, not by their names alone.
func TestIsolation_fromAnEngineNetworkWithANameOfItsOwn(t *testing.T) {
	eachBackend(t, func(h *host) {
		h.run("docker network create --subnet 10.221.0.0/24 -o com.docker.network.bridge.name=named0 theirs")
		h.run("docker network create -d ournet --ipam-driver ournet --subnet 10.222.0.0/24 ours")
		h.run("docker run -d --name inside --network theirs busybox probe serve -tcp :80")
		h.run("docker run -d --name beside --network ours busybox probe serve -tcp :80")
		err := lab.Poll(h.ctx, "the plugin to hear of the bridge", func() error {
			list, err := h.Exec(h.ctx, "nft", "list", "set", "inet", "ournet", "engine")
			if err == nil && !strings.Contains(list, `"named0"`) {
				err = errors.New(list)
			}
			return err
		})
		if err != nil {
			h.Fatal(err)
		}
		h.hears("beside", "tcp", h.address("inside", "theirs")+":80", false)
		h.hears("inside", "tcp", h.address("beside", "ours")+":80", false)
		h.seenOutside("beside", "tcp") // fails if nobody answers
	})
}
