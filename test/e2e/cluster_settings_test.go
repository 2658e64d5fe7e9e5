package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ournet/ournet/internal/consultest"
	"github.com/ournet/ournet/test/lab"
)

// wrongSetting is what a user may get wrong, and the words of the one line that is said
// when a network is made, and those when one is that asks for no subnet.
type wrongSetting struct {
	name     string
	settings []string
	words    []string
	whatever []string
}

// With whatever is wrong the plugin can be enabled and has networks of its own host;
// who makes one over hosts is told in one line what to do.
func TestCluster_wrongSettings(t *testing.T) {
	t.Parallel()
	inFreshCluster(t, clusterOptions{engines: lab.Engines(), secure: true, bare: true}, func(c *cluster) {
		all := append(c.wrongStores(), []wrongSetting{
			{"an address that is not ours", []string{"CLUSTER_ADVERTISE=10.99.0.77"}, []string{"CLUSTER_ADVERTISE", "10.99.0.77"}, []string{"CLUSTER_ADVERTISE"}},
			{"a device that is not there", []string{"CLUSTER_ADVERTISE=eth7"}, []string{"CLUSTER_ADVERTISE", "eth7"}, nil},
			{"no number", []string{"VXLAN_PORT=many"}, []string{"VXLAN_PORT", "many"}, []string{"VXLAN_PORT"}},
		}...)
		c.Run("told", func(t *testing.T) {
			for _, h := range clusterOf(t, c.clusterLab).hosts {
				t.Run(string(h.Engine), func(t *testing.T) {
					t.Parallel()
					newHost(t, c.lab, h.Host).areTold(c, all)
				})
			}
		})
		// What was wrong is mended: they are a cluster now.
		c.host(1).run("docker network create -d ournet -o type=overlay --ipam-driver ournet --subnet 10.60.0.0/24 lab")
		c.everywhere("lab")
	})
}

// secured are the right settings.
func (c *cluster) secured() []string {
	return []string{
		c.store(), "CONSUL_HTTP_TOKEN=" + consultest.Token,
		"CLUSTER_STORE_OPTS=kv.cacertfile=" + c.consul.CAFile + ",kv.certfile=" + c.consul.CertFile + ",kv.keyfile=" + c.consul.KeyFile,
		"CLUSTER_ADVERTISE=", "VXLAN_PORT=4789",
	}
}

// wrongStores are those that have to do with Consul.
func (c *cluster) wrongStores() []wrongSetting {
	c.Helper()
	// Hosts see the lab's folder under the same path.
	dir := filepath.Join(c.lab.Dir, "other")
	c.host(1).run("mkdir -p " + dir)
	ca, cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := consultest.WriteCertificate(ca, cert, key, []net.IP{net.IPv4(10, 99, 0, 241)}); err != nil {
		c.Fatal(err)
	}
	return []wrongSetting{
		{"no store", []string{"CLUSTER_STORE="}, []string{"CLUSTER_STORE=consul://"}, nil},
		{"nobody there", []string{"CLUSTER_STORE=consul://10.99.0.249:8500/ournet"}, []string{"10.99.0.249:8500"}, nil},
		{"nobody listens", []string{"CLUSTER_STORE=consul://10.99.0.254:8500/ournet"}, []string{"10.99.0.254:8500", "refused"}, []string{"check CLUSTER_STORE"}},
		{"no token", []string{"CONSUL_HTTP_TOKEN="}, []string{"token"}, nil},
		{"a wrong token", []string{"CONSUL_HTTP_TOKEN=c0ffee00-0000-4000-8000-00000000dead"}, []string{"token"}, nil},
		{"another authority", []string{"CLUSTER_STORE_OPTS=kv.cacertfile=" + ca + ",kv.certfile=" + c.consul.CertFile + ",kv.keyfile=" + c.consul.KeyFile}, []string{"certificate"}, nil},
		{"another's certificate", []string{"CLUSTER_STORE_OPTS=kv.cacertfile=" + c.consul.CAFile + ",kv.certfile=" + cert + ",kv.keyfile=" + key}, []string{"certificate"}, nil},
		{"no TLS", []string{"CLUSTER_STORE_OPTS="}, []string{"kv.cacertfile"}, nil},
		{"a file that is not there", []string{"CLUSTER_STORE_OPTS=kv.cacertfile=/no/ca.pem"}, []string{"/no/ca.pem"}, []string{"kv.cacertfile=/no/ca.pem"}},
		{"another store", []string{"CLUSTER_STORE=etcd://10.99.0.241:2379"}, []string{"consul://"}, []string{"want consul://host:8500"}},
	}
}

func (h *host) installDisabled() {
	h.Helper()
	dir, err := pluginDir()
	if err != nil {
		h.Fatal(err)
	}
	h.run("docker plugin create " + pluginName + " " + dir)
}

func (h *host) set(settings ...string) {
	h.Helper()
	h.docker(append([]string{"plugin", "set", pluginName}, settings...)...)
}

// areTold makes one thing wrong after the other, and in the end all right.
func (h *host) areTold(c *cluster, all []wrongSetting) {
	h.Helper()
	h.installDisabled()
	h.run("docker plugin enable " + pluginName)
	// Nor does the engine's address manager help where there is no cluster.
	h.refuses("docker network create -d ournet -o type=overlay lab", "CLUSTER_STORE=consul://")
	h.run("docker plugin disable -f " + pluginName)
	for _, wrong := range all {
		h.part(wrong.name, func(h *host) { h.isTold(c, wrong) })
	}
	h.set(c.secured()...)
	h.run("docker plugin enable " + pluginName)
}

// isTold makes one thing wrong and acts.
func (h *host) isTold(c *cluster, wrong wrongSetting) {
	h.Helper()
	h.set(append(c.secured(), wrong.settings...)...)
	h.run("docker plugin enable " + pluginName)
	h.run("docker network create -d ournet own")
	h.run("docker run --rm --network own busybox true")
	h.run("docker network rm own")
	h.refusesInOneLine("docker network create -d ournet -o type=overlay --ipam-driver ournet --subnet 10.60.0.0/24 lab", wrong.words...)
	h.refuses("docker network create -d ournet -o type=overlay --ipam-driver ournet lab", wrong.whatever...)
	if out := h.run("docker ournet host ls"); !strings.Contains(out, h.Name) {
		h.Errorf("host ls shows %q, want this host", out)
	}
	h.run("docker plugin disable -f " + pluginName)
}

// refusesInOneLine is refuses, of one line.
func (h *host) refusesInOneLine(line string, words ...string) {
	h.Helper()
	said := strings.TrimSpace(h.refuses(line, words...))
	h.Log(said)
	if strings.Contains(said, "\n") {
		h.Errorf("it is said in several lines: %q", said)
	}
}

// refusesAtLast waits until a command, which fails from the first time on, says the word:
// the plugin hears a moment later what the engine calls a network.
func (h *host) refusesAtLast(line, word string) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.ctx, propagation)
	defer cancel()
	err := lab.Poll(ctx, "the word "+word, func() error {
		if said := h.refuses(line); !strings.Contains(said, word) {
			return fmt.Errorf("%s says %q", line, said)
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
}

// What one network can have wrong is refused when it is made, or reported where it
// cannot be had.
func TestCluster_wrongNetworks(t *testing.T) {
	inMixedCluster(t, func(c *cluster) {
		const create = "docker network create -d ournet -o type=overlay --ipam-driver ournet "
		h1, h2, h3 := c.host(1), c.host(2), c.host(3)
		c.overlay("lab", "--subnet 10.61.0.0/16")
		for _, h := range []*host{h2, h3} { // hears a moment later who else has it
			h.soon(propagation, "docker ournet network ls --format {{.Name}}={{.Hosts}}", has("lab=3"))
		}
		everybody := strings.Join(slices.Sorted(slices.Values([]string{h1.Name, h2.Name, h3.Name})), ", ")
		h2.refusesInOneLine(create+"--subnet 10.61.7.0/24 inner",
			`subnet 10.61.7.0/24 overlaps the subnet 10.61.0.0/16 of network "lab" on hosts `+everybody+"; choose another --subnet")
		h3.refusesInOneLine(create+"--subnet 10.61.0.0/16 same",
			`subnet 10.61.0.0/16 overlaps the subnet 10.61.0.0/16 of network "lab" on hosts `+everybody+"; use that network, or choose another --subnet")
		h3.run("docker network create -d ournet --ipam-driver ournet --subnet 10.59.0.0/24 yard")
		h1.refusesInOneLine(create+"--subnet 10.59.0.0/16 around",
			"subnet 10.59.0.0/16 overlaps the subnet 10.59.0.0/24 on host "+h3.Name+"; choose another --subnet")
		h3.refusesAtLast(create+"--subnet 10.59.0.0/16 around", `network "yard"`)
		h3.refusesInOneLine(create+"--subnet 10.59.0.0/16 around",
			`subnet 10.59.0.0/16 overlaps the subnet 10.59.0.0/24 of network "yard" on this host; choose another --subnet`)
		h3.refusesInOneLine(create+"-o com.docker.network.driver.mtu=9000 --subnet 10.62.0.0/24 wide", "9000", "1450")
		h2.run("docker network create taken")
		c.Cleanup(func() {
			h2.outlive()
			h2.run("docker network rm taken")
		})
		before, err := h2.Logs()
		if err != nil {
			c.Fatal(err)
		}
		h1.run(create + "--subnet 10.63.0.0/24 taken")
		h2.says(before, "the name taken is taken on this host")
		if got := h2.run("docker network inspect -f {{.Driver}} taken"); got != "bridge" {
			h2.Errorf("the network that had the name has the driver %s now", got)
		}
		h1.run("docker network rm taken")
	})
}

// Whoever has the port of the tunnels is named at the first network, and once it is
// free that can be made.
func TestCluster_takenPort(t *testing.T) {
	inMixedCluster(t, func(c *cluster) {
		h1 := c.host(1)
		probe, err := c.lab.Probe(h1.ctx)
		if err != nil {
			c.Fatal(err)
		}
		squatter, err := h1.Start(h1.ctx, probe, "serve", "-udp", ":4789")
		if err != nil {
			c.Fatal(err)
		}
		err = lab.Poll(h1.ctx, "the squatter", func() error {
			if !strings.Contains(squatter.Output(), "ready") {
				return errors.New(squatter.Output())
			}
			return nil
		})
		if err != nil {
			c.Fatal(err)
		}
		const create = "docker network create -d ournet -o type=overlay --ipam-driver ournet --subnet 10.64.0.0/24 lab"
		h1.refusesInOneLine(create, "4789", "VXLAN_PORT")
		if _, err := squatter.Stop(); err != nil {
			c.Fatal(err)
		}
		h1.run(create)
		c.everywhere("lab")
	})
}
