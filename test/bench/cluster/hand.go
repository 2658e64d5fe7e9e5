package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/ournet/ournet/test/lab"
)

// handScript makes a network by hand on one of two hosts: a bridge with a VXLAN device,
// and a container's interface in it. $1 to $8: the name of all that, the container's
// process, its address, the VNI, the UDP port, this host's address, the other's, and
// "apart" for a bridge in a namespace of its own, where no packet filter is. On the host
// the filter lets it pass first of all.
const handScript = `set -eu
if [ "$8" = apart ]; then
	ip netns add "$1"
	at="ip netns exec $1"
else
	at=
	iptables -I FORWARD -i "$1" -o "$1" -j ACCEPT
fi
ip link add "v-$1" mtu 1450 type vxlan id "$4" local "$6" remote "$7" dstport "$5"
ip link add "h-$1" mtu 1450 type veth peer name eth0 netns "$2"
if [ "$8" = apart ]; then ip link set "v-$1" netns "$1"; ip link set "h-$1" netns "$1"; fi
$at ip link add "$1" type bridge
for device in "v-$1" "h-$1"; do $at ip link set "$device" master "$1" up; done
$at ip link set "$1" up
nsenter --target "$2" --net ip link set eth0 mtu 1450 up
nsenter --target "$2" --net ip address add "$3/24" dev eth0`

// hand is a network made by hand, on the first two hosts.
type hand struct {
	variant

	vni   int
	apart bool
}

// hands are a bridge where the engine's are, behind its packet filter, and one that
// nothing is in the way of.
func hands() []hand {
	return []hand{
		{variant{name: "by hand", network: "hand", address: "10.203.0."}, 203, false},
		{variant{name: "by hand, no packet filter", network: "apart", address: "10.204.0."}, 204, true},
	}
}

// make makes the network with its residents.
func (m hand) make(ctx context.Context, b *bed) error {
	for i := range 2 {
		self, other := b.lab.Hosts[i], b.lab.Hosts[1-i]
		if _, err := self.Docker(ctx, "run", "-d", "--name", m.resident(), "--network", "none", lab.BusyboxImage, "sleep", "1d"); err != nil {
			return err
		}
		pid, err := self.Docker(ctx, "container", "inspect", "-f", "{{.State.Pid}}", m.resident())
		if err != nil {
			return err
		}
		where := "host"
		if m.apart {
			where = "apart"
		}
		_, err = self.Exec(ctx, "sh", "-c", handScript, "hand", m.network, strings.TrimSpace(pid), m.address+strconv.Itoa(i+1),
			strconv.Itoa(m.vni), handPort, self.Address().String(), other.Address().String(), where)
		if err != nil {
			return err
		}
	}
	return nil
}

// filtered reports whether a host's packet filter sees what goes from port to port of a
// bridge.
func (b *bed) filtered(ctx context.Context) (bool, error) {
	// Without br_netfilter there is no such file.
	out, err := b.lab.Host(1).Exec(ctx, "sh", "-c", "cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null || echo 0")
	return out == "1", err
}
