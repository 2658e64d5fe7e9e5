package e2e

import (
	"net/netip"
	"strings"
	"testing"
)

// The two ways to number a network: by the engine's own address manager and by
// ournet's.
const (
	ownIPAM    = ""
	ournetIPAM = "--ipam-driver ournet "
)

// eachIPAM runs the test on every engine with either address manager. Whose the
// addresses are does not depend on the firewall: its backends are tried with one.
func eachIPAM(t *testing.T, test func(h *host, ipam string)) {
	t.Helper()
	t.Run("engine's IPAM", func(t *testing.T) { eachBackend(t, func(h *host) { test(h, ownIPAM) }) })
	t.Run("ournet's IPAM", func(t *testing.T) { each(t, func(h *host) { test(h, ournetIPAM) }) })
}

// Tutorial, step 1.
func TestCreate_showsANetworkWithOneSubnet(t *testing.T) {
	eachIPAM(t, func(h *host, ipam string) {
		id := h.run("docker network create -d ournet " + ipam + "simple-network")
		n := h.network("simple-network")
		if n.ID != id || len(id) != 64 {
			h.Errorf("create printed %q, inspect shows the id %q", id, n.ID)
		}
		if n.Driver != "ournet" || n.Scope != "local" || n.Internal || len(n.Containers) != 0 {
			h.Errorf("inspect shows %+v, want an empty network of driver ournet, scope local", n)
		}
		if len(n.IPAM.Config) != 1 {
			h.Fatalf("it has %d subnets, want 1", len(n.IPAM.Config))
		}
		subnet, err := netip.ParsePrefix(n.IPAM.Config[0].Subnet)
		if err != nil {
			h.Fatal(err)
		}
		gateway, _, _ := strings.Cut(n.IPAM.Config[0].Gateway, "/")
		if addr, err := netip.ParseAddr(gateway); err != nil || !subnet.Contains(addr) {
			h.Errorf("its gateway is %q, want an address of %s", gateway, subnet)
		}
	})
}

// Tutorial, step 2.
func TestCreate_choosesFreeSubnets(t *testing.T) {
	eachIPAM(t, func(h *host, ipam string) {
		seen := map[string]bool{}
		for _, name := range []string{"a", "b", "c"} {
			h.run("docker network create -d ournet " + ipam + name)
			subnet := h.network(name).IPAM.Config[0].Subnet
			if seen[subnet] {
				h.Errorf("network %s has the subnet %s of another", name, subnet)
			}
			seen[subnet] = true
		}
	})
}

// Tutorial, step 2.
func TestCreate_refusesASubnetThatIsTaken(t *testing.T) {
	eachIPAM(t, func(h *host, ipam string) {
		h.run("docker network create -d ournet " + ipam + "--subnet 172.30.0.0/16 first")
		h.refuses("docker network create -d ournet "+ipam+"--subnet 172.30.7.0/24 second", "overlap")
		h.refuses("docker network create -d ournet "+ipam+"--subnet 10.99.0.0/16 third", "overlap")
	})
}

// Each address manager knows of its own pools alone; the driver sees all networks.
func TestCreate_refusesASubnetOfTheOtherAddressManager(t *testing.T) {
	each(t, func(h *host) {
		h.run("docker network create -d ournet --ipam-driver ournet --subnet 172.30.0.0/16 first")
		h.refuses("docker network create -d ournet --subnet 172.30.7.0/24 second", "overlap")
		h.run("docker network create -d ournet --subnet 172.31.0.0/16 third")
		h.refuses("docker network create -d ournet --ipam-driver ournet --subnet 172.31.7.0/24 fourth", "overlap")
	})
}

func TestCreate_refusesAnUnknownOptionAndNamesTheNearest(t *testing.T) {
	each(t, func(h *host) {
		h.refuses("docker network create -d ournet -o com.docker.network.drver.mtu=1400 n", "com.docker.network.driver.mtu")
		h.refuses("docker network create -d ournet -o com.docker.network.driver.mtu=big n", "com.docker.network.driver.mtu", "big")
	})
}
