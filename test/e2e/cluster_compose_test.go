package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// The files of the tutorial's last step.
const (
	composeNetwork = `
networks:
  lab:
    driver: ournet
    driver_opts: {type: overlay}
    ipam: {driver: ournet, config: [{subnet: 10.10.0.0/24}]}
`
	composeFirst = `
services:
  web: {image: redis, networks: {lab: {aliases: [shop], ipv4_address: 10.10.0.10}}}
  client: {image: busybox, command: sleep 1d, networks: [lab]}
` + composeNetwork
	composeOther = `
services:
  visitor: {image: busybox, command: sleep 1d, networks: {lab: {aliases: [guest]}}}
networks:
  lab: {external: true, name: shop_lab}
`
	composeSame = `
services:
  web: {image: redis, networks: [lab]}
  client: {image: busybox, command: sleep 1d, networks: [lab]}
` + composeNetwork
)

// composeFile returns a file with the text.
func (c *cluster) composeFile(text string) string {
	c.Helper()
	file := filepath.Join(c.TempDir(), "compose.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		c.Fatal(err)
	}
	return file
}

// compose runs Docker Compose on the file.
func (h *host) compose(project, file, line string) string {
	h.Helper()
	return h.docker(append([]string{"compose", "--project-name", project, "--file", file}, strings.Fields(line)...)...)
}

// Tutorial, step 17: the network is made with one host's file and is external to the
// others'.
func TestCluster_tutorialCompose(t *testing.T) {
	inClusters(t, everyComposition(), func(c *cluster) {
		h1, h2, h3 := c.host(1), c.host(2), c.host(3)
		first, other := c.composeFile(composeFirst), c.composeFile(composeOther)
		h1.compose("shop", first, "up --detach")
		if got := h1.address("shop-web-1", "shop_lab"); got != "10.10.0.10" {
			h1.Errorf("web has the address %s, the file says 10.10.0.10", got)
		}
		if got := h1.compose("shop", first, "ps --services --status running"); len(strings.Fields(got)) != 2 {
			h1.Errorf("ps shows %q, want two services", got)
		}
		web, client := "10.10.0.10", h1.address("shop-client-1", "shop_lab")
		for _, name := range []string{"web", "shop", "shop-web-1", "web.shop_lab"} {
			h1.finds("shop-client-1", name, web)
		}
		h1.connected("shop-client-1", "web")
		c.everywhere("shop_lab")
		for _, h := range []*host{h2, h3} {
			h.compose("guests", other, "up --detach")
			h.finds("guests-visitor-1", "shop", web)
			h.finds("guests-visitor-1", "client", client)
			h.connected("guests-visitor-1", "shop-client-1")
		}
		h1.connected("shop-client-1", "guest")
		h3.finds("guests-visitor-1", "guest", h2.address("guests-visitor-1", "shop_lab"), h3.address("guests-visitor-1", "shop_lab"))
		c.assertConsistent("with three projects")
		h2.compose("guests", other, "down")
		h3.compose("guests", other, "down")
		h1.compose("shop", first, "down")
		c.nowhere("shop_lab")
		c.assertStoreEmpty()
	})
}

// The same file on all hosts: Compose takes the network that another host made for its
// own.
func TestCluster_composeOfTheSameFileOnAllHosts(t *testing.T) {
	inMixedCluster(t, func(c *cluster) {
		file := c.composeFile(composeSame)
		c.host(1).compose("shop", file, "up --detach")
		c.everywhere("shop_lab")
		c.on(func(h *host) error {
			_, err := h.Docker(h.ctx, "compose", "--project-name", "shop", "--file", file, "up", "--detach")
			return err
		})
		var webs []string
		for _, h := range c.hosts {
			webs = append(webs, h.address("shop-web-1", "shop_lab"))
		}
		for _, h := range c.hosts {
			h.resolves("shop-client-1", "web", webs...)
			for _, web := range webs {
				h.connected("shop-client-1", web)
			}
		}
		c.assertConsistent("with the same project on all hosts")
		for _, h := range c.hosts {
			h.compose("shop", file, "down")
		}
		c.nowhere("shop_lab")
		c.assertStoreEmpty()
	})
}

// The same file on all hosts at the same instant: each Compose makes the network, while
// the other hosts' is on its way to that host.
func TestCluster_composeOnAllHostsAtTheSameInstant(t *testing.T) {
	inClusters(t, everyComposition(), func(c *cluster) {
		file := c.composeFile(composeSame)
		for range 2 {
			c.on(func(h *host) error {
				_, err := h.Docker(h.ctx, "compose", "--project-name", "shop", "--file", file, "up", "--detach")
				return err
			})
			web := c.host(1).address("shop-web-1", "shop_lab")
			for _, h := range c.hosts {
				h.hasOne("shop_lab")
				h.connected("shop-client-1", web)
			}
			for _, h := range c.hosts {
				h.compose("shop", file, "down --timeout 0")
			}
			c.nowhere("shop_lab")
		}
	})
}

// The same command on all hosts at the same instant: on each of them the network is made
// or is there already, and it is one.
func TestCluster_networkCreateOnAllHostsAtTheSameInstant(t *testing.T) {
	inClusters(t, everyComposition(), func(c *cluster) {
		for round := range 3 {
			c.on(func(h *host) error {
				_, err := h.Docker(h.ctx, strings.Fields("network create -d ournet -o type=overlay --ipam-driver ournet --subnet 10.86.0.0/24 --label who=us lab")...)
				if err != nil && strings.Contains(err.Error(), "already exists") {
					h.Logf("round %d: the other hosts' was quicker", round+1)
					return nil
				}
				return err
			})
			for _, h := range c.hosts {
				h.run("docker run -d --name box --network lab busybox sleep 1d")
				h.hasOne("lab")
			}
			first := c.host(1).address("box", "lab")
			for _, h := range c.hosts {
				h.connected("box", first)
			}
			for _, h := range c.hosts {
				h.run("docker rm -f box")
			}
			c.host(1).run("docker network rm lab")
			c.nowhere("lab")
		}
	})
}

// hasOne waits until the host has one network of the name.
func (h *host) hasOne(name string) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.ctx, propagation)
	defer cancel()
	err := lab.Poll(ctx, "one network "+name+" on "+h.Name, func() error {
		all, err := h.Docker(ctx, "network", "ls", "--no-trunc", "--quiet", "--filter", "name=^"+name+"$")
		if n := len(strings.Fields(all)); err == nil && n != 1 {
			err = fmt.Errorf("it has %d", n)
		}
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
}
