package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/test/lab"
)

// cluster is a lab's cluster within one test: what fails ends the test.
type cluster struct {
	reporter
	*clusterLab

	hosts []*host
}

func clusterOf(t *testing.T, made *clusterLab) *cluster {
	t.Helper()
	c := &cluster{reporter: reporter{t}, clusterLab: made}
	for _, h := range made.lab.Hosts {
		c.hosts = append(c.hosts, newHost(t, made.lab, h))
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.logStore()
		}
	})
	return c
}

// host returns host i; the first is 1.
func (c *cluster) host(i int) *host { return c.hosts[i-1] }

// vtep returns the address that other hosts send a host's frames to.
func (c *cluster) vtep(h *host) string {
	if moved := c.vteps[h.Name]; moved != "" {
		return moved
	}
	if c.opts.six {
		return h.Address6().String()
	}
	return h.Address().String()
}

// on runs do for each host at the same time.
func (c *cluster) on(do func(h *host) error) {
	c.Helper()
	var g errgroup.Group
	for _, h := range c.hosts {
		g.Go(func() error {
			if err := do(h); err != nil {
				return fmt.Errorf("%s: %w", h.Name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		c.Fatal(err)
	}
}

// part runs a part of the test under a name of its own; it reports whether it passed.
func (c *cluster) part(name string, test func(c *cluster)) bool {
	c.Helper()
	return c.Run(name, func(t *testing.T) { test(clusterOf(t, c.clusterLab)) })
}

// leaveClean removes the containers and the plugin's networks of all hosts after the
// test, and reports what hosts and store then have more or less than now.
func (c *cluster) leaveClean() {
	c.Helper()
	before := map[string]state{}
	for _, h := range c.hosts {
		before[h.Name] = h.settledState()
	}
	c.Cleanup(func() {
		for _, h := range c.hosts {
			h.outlive()
		}
		c.removeAll()
		for _, h := range c.hosts {
			h.assertState(before[h.Name], "of "+h.Name+" after the test")
		}
		c.assertStoreEmpty()
	})
}

// outlive lets the host be used when the test's own context is over.
func (h *host) outlive() { h.ctx = h.lasting() }

// removeAll removes all containers, and then the plugin's networks: each on the first
// host that has it, for the others follow.
func (c *cluster) removeAll() {
	c.Helper()
	c.on(func(h *host) error {
		ids, err := h.try("docker ps -aq")
		if err != nil || ids == "" {
			return err
		}
		_, err = h.try("docker rm -f -v " + strings.Join(strings.Fields(ids), " "))
		return err
	})
	for _, h := range c.hosts {
		err := lab.Poll(h.ctx, "the removal of all networks of "+h.Name, func() error { return h.removeNetworks() })
		if err != nil {
			c.Error(err)
		}
	}
}

// removeNetworks removes the plugin's networks. One may be gone meanwhile, because it
// was removed on another host.
func (h *host) removeNetworks() error {
	networks, err := h.ournetNetworks()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range networks {
		if _, err := h.try("docker network rm " + n.ID); err != nil && !strings.Contains(err.Error(), "ot found") && !h.miscounted(n.ID, err) {
			errs = append(errs, err)
		}
	}
	if len(networks) > 0 {
		errs = append(errs, errors.New("some were there")) // look again
	}
	return errors.Join(errs...)
}

// propagation bounds what takes much less than a second on an idle machine; the tests
// print how long it took.
const propagation = 25 * time.Second

// everywhere waits until all hosts have the network.
func (c *cluster) everywhere(name string) {
	c.Helper()
	c.follow("network "+name+" on all hosts", func(names []string) bool { return slices.Contains(names, name) })
}

// nowhere waits until no host has the network.
func (c *cluster) nowhere(name string) {
	c.Helper()
	c.follow("no network "+name+" on any host", func(names []string) bool { return !slices.Contains(names, name) })
}

// follow waits until the names of the plugin's networks are so on all hosts, and
// prints how long it took.
func (c *cluster) follow(what string, cond func(names []string) bool) {
	c.Helper()
	begin := time.Now()
	c.on(func(h *host) error {
		ctx, cancel := context.WithTimeout(h.ctx, propagation)
		defer cancel()
		return lab.Poll(ctx, what, func() error {
			networks, err := h.ournetNetworks()
			if err != nil {
				return err
			}
			var names []string
			for _, n := range networks {
				names = append(names, n.Name)
			}
			if !cond(names) {
				return fmt.Errorf("it has %v", names)
			}
			return nil
		})
	})
	c.Logf("%s after %d ms", what, time.Since(begin).Milliseconds())
}

// overlay makes a network on host 1 and waits until all have it. options are further
// arguments.
func (c *cluster) overlay(name string, options ...string) {
	c.Helper()
	c.host(1).run("docker network create -d ournet -o type=overlay --ipam-driver ournet " + strings.Join(options, " ") + " " + name)
	c.everywhere(name)
}

// connected waits until the container's ping to target, a name or an address, is
// answered: what another host has to hear of takes a moment.
func (h *host) connected(container, target string) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.ctx, propagation)
	defer cancel()
	begin := time.Now()
	err := lab.Poll(ctx, container+" of "+h.Name+" to reach "+target, func() error {
		_, err := h.Docker(ctx, "exec", container, "ping", "-c", "1", "-W", "1", target)
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	if took := time.Since(begin); took > time.Second {
		h.Logf("%s of %s reaches %s after %.1f s", container, h.Name, target, took.Seconds())
	}
}
