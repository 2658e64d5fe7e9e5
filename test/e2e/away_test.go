package e2e

import (
	"strings"
	"testing"
	"time"
)

// What somebody did to devices and rules while nobody looked after them is undone.
func TestAway_damageIsRepaired(t *testing.T) {
	each(t, func(h *host) {
		e := openEstate(h)
		bridge := "on-" + h.network("front").ID[:12]
		extra := strings.Repeat("f", 64)
		h.run("docker plugin disable -f " + pluginName)
		for _, line := range []string{
			"ip link delete " + bridge,
			"nft delete table inet ournet",
			"iptables -D FORWARD " + h.jump(),
			// What a network leaves that was removed at the wrong moment.
			"ip link add on-" + extra[:12] + " type bridge",
			"ip link set on-" + extra[:12] + " up alias ournet:ournet:" + extra,
			"ip address add 10.222.0.1/24 dev on-" + extra[:12],
			"ip link add onv" + extra[:11] + " type veth peer onp" + extra[:11],
			"ip link set onv" + extra[:11] + " master on-" + h.network("back").ID[:12],
		} {
			h.run(line)
		}
		h.run("docker plugin enable " + pluginName)
		e.isWhole()
	})
}

// jump is the rule by which FORWARD comes to the plugin's chain.
func (h *host) jump() string {
	h.Helper()
	const target = "-j OURNET-FORWARD"
	for line := range strings.Lines(h.run("iptables -S FORWARD")) {
		if rule, ok := strings.CutPrefix(strings.TrimSpace(line), "-A FORWARD "); ok && strings.HasSuffix(rule, target) {
			return rule
		}
	}
	h.Fatal("nothing in FORWARD jumps to the plugin's chain")
	return ""
}

// Where all networks have the engine's own address manager, an engine that crashed
// removes its stale endpoints before it has loaded the driver, and tells nobody. The
// containers come back at once all the same, with their ports; and so it is while the
// plugin is disabled. What the engine no longer knows is removed a minute later.
func TestAway_whatTheEngineForgotIsRemoved(t *testing.T) {
	t.Parallel()
	eachFresh(t, func(h *host) {
		h.leaveClean()
		h.run("docker network create -d ournet plain")
		h.run("docker run -d --restart always --name web --network plain -p 8086:6379 -p 8086:6379/udp redis")
		h.run("docker run -d --restart always --name client --network plain busybox sleep 1d")
		h.run("docker run -d --name visitor --network plain -p 8087:6379 redis")
		if err := h.crashEngine(); err != nil {
			h.Fatal(err)
		}
		published := h.Address().String() + ":8086"
		for _, protocol := range []string{"tcp", "udp"} {
			h.calledFromOutside(protocol, published)
		}
		h.reaches("client", "web")

		h.run("docker plugin disable -f " + pluginName)
		begin := time.Now()
		h.run("docker rm -f client")
		h.Logf("without the plugin the engine took %.0f s for a removal", time.Since(begin).Seconds())
		h.calledFromOutside("tcp", published)
		h.run("docker plugin enable " + pluginName)

		begin = time.Now()
		h.assertJustified(unused, "of what the engine still knows")
		h.Logf("what it forgot was removed within %.0f s", time.Since(begin).Seconds())
		h.calledFromOutside("tcp", published)
		h.removeAll()
		h.assertJustified(settle, "after the removal of everything")
	})
}
