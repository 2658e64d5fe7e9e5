package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/ournet/ournet/test/lab"
)

// A container with the capability to change its addresses can do so, but nobody
// hears it then, unless the network was made for that.
func TestSpoofing_containerIsHeardWithItsOwnAddressesOnly(t *testing.T) {
	each(t, func(h *host) {
		for _, tc := range []struct {
			name, options string
			heard         bool
		}{
			{"checked", "", false},
			{"lab", "-o ournet.spoof_check=false ", true},
		} {
			h.run("docker network create -d ournet --ipam-driver ournet --subnet 10.221.0.0/24 " + tc.options + tc.name)
			h.run("docker run -d --name victim --network " + tc.name + " --ip 10.221.0.10 busybox sleep 1d")
			h.run("docker run -d --name thief --network " + tc.name + " --cap-add NET_ADMIN busybox sleep 1d")
			h.reaches("thief", "10.221.0.10")
			h.run("docker exec thief ip address add 10.221.0.99/24 dev eth0")
			if err := h.hearsThief("-I 10.221.0.99 10.221.0.10", tc.heard); (err == nil) != tc.heard {
				h.Errorf("%s: a ping from another address is answered: %t (%v), want %t", tc.name, err == nil, err, tc.heard)
			}
			h.reaches("thief", "10.221.0.10")
			h.run("docker exec thief ip link set eth0 down")
			h.run("docker exec thief ip link set eth0 address 02:42:0a:dd:00:63")
			h.run("docker exec thief ip link set eth0 up")
			if err := h.hearsThief("10.221.0.10", tc.heard); (err == nil) != tc.heard {
				h.Errorf("%s: a ping from another MAC address is answered: %t (%v), want %t", tc.name, err == nil, err, tc.heard)
			}
			h.reaches("victim", "10.221.0.1")
			h.run("docker rm -f thief victim")
			h.run("docker network rm " + tc.name)
		}
	})
}

// hearsThief returns no error if a ping of the thief's is answered. One that shall be is
// sent again for a while: what has just come up may lose the first.
func (h *host) hearsThief(to string, want bool) error {
	h.Helper()
	ping := func() error {
		_, err := h.try("docker exec thief ping -c 1 -W 1 " + to)
		return err
	}
	if !want {
		return ping()
	}
	ctx, cancel := context.WithTimeout(h.ctx, 10*time.Second)
	defer cancel()
	return lab.Poll(ctx, "an answer to the thief", ping)
}
