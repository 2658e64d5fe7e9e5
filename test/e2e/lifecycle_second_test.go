package e2e

import "strconv"

// The references of two plugins on one engine.
const (
	first  = "ournet/first:latest"
	second = "ournet/second:latest"
)

func twoPlugins(h *host) {
	h.run("docker plugin install --grant-all-permissions --alias " + first + " " + version1)
	h.run("docker network create -d ournet --ipam-driver ournet one")
	h.run("docker run -d --name server1 --network one -p 8081:6379 redis")
	alone := h.namedState()

	h.refusesASecondOfTheSameName()
	h.assertNamedState(alone, "after a second plugin of the same name was refused")

	h.run("docker plugin set " + second + " NAME=second")
	h.run("docker plugin enable " + second)
	h.run("docker network create -d second --ipam-driver second two")
	h.run("docker run -d --name server2 --network two -p 8082:6379 redis")
	h.refuses("docker run --name server3 --network two -p 8081:6379 redis", "8081")
	h.run("docker rm server3")
	h.bothWork()
	both := h.namedState()
	for _, plugin := range []string{first, second} {
		h.run("docker plugin disable -f " + plugin)
		h.run("docker plugin enable " + plugin)
		h.assertNamedState(both, "after a restart of "+plugin)
	}
	h.bothWork()

	h.run("docker rm -f server2")
	h.run("docker network rm two")
	h.uninstall(second)
	h.calledFromOutside("tcp", h.Address().String()+":8081")
	h.assertNamedState(alone, "with the second plugin removed")
	h.run("docker rm -f server1")
	h.run("docker network rm one")
	h.uninstall(first)
}

// refusesASecondOfTheSameName leaves the second plugin installed and disabled.
func (h *host) refusesASecondOfTheSameName() {
	h.Helper()
	before, err := h.Logs()
	if err != nil {
		h.Fatal(err)
	}
	h.refuses("docker plugin install --grant-all-permissions --alias "+second+" "+version2, "ournet.sock: connect: no such file or directory")
	h.says(before, `NAME=\"ournet\": another plugin of that name runs on this engine`)
	h.calledFromOutside("tcp", h.Address().String()+":8081")
}

// bothWork asserts that the networks of both plugins are whole, and apart.
func (h *host) bothWork() {
	h.Helper()
	networks := map[string]string{"server1": "one", "server2": "two"}
	ports := map[string]string{"server1": "8081", "server2": "8082"}
	for server, network := range networks {
		published := h.Address().String() + ":" + ports[server]
		for _, protocol := range []string{"tcp", "udp"} {
			if seen := h.seenOutside(server, protocol); seen != h.Address().String() {
				h.Errorf("by %s the outside sees %s for %s, want the host's %s", protocol, seen, server, h.Address())
			}
		}
		h.calledFromOutside("tcp", published)
		h.run("docker run --rm --network " + network + " busybox ping -c 1 -W 10 " + server)
		for other := range networks {
			if other == server {
				continue
			}
			h.reachesNot(other, h.address(server, network))
			h.run("docker exec " + other + " probe who tcp " + published)
		}
	}
	for server, command := range map[string]string{"server1": "docker ournet ports", "server2": "docker ournet ports --plugin second"} {
		if got := h.published(command); len(got) != 1 || got[0].Container != server || strconv.Itoa(got[0].HostPort) != ports[server] {
			h.Errorf("%s shows %v, want port %s of %s alone", command, got, ports[server], server)
		}
	}
	one, two := h.network("one").IPAM.Config[0].Subnet, h.network("two").IPAM.Config[0].Subnet
	if one == two {
		h.Errorf("both networks have the subnet %s", one)
	}
}
