package e2e

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// watchEvery is the time between two looks: long enough that a container which was
// stopping is gone, and that the looks cost the hosts nothing.
const watchEvery = time.Second

// watcher looks for two living containers that have the same address, while anything
// may happen to the hosts.
type watcher struct {
	hosts    []*host
	networks []string

	before map[pair]bool
	looks  int // how often it looked
	most   int // how many addresses it saw at most
}

// holder is a running container with one of its addresses, as its engine shows it.
type holder struct {
	host      *host
	container string // its id
	endpoint  string
	network   string
	addr      string
}

func (h holder) String() string {
	return fmt.Sprintf("%.12s of %s (endpoint %.12s)", h.container, h.host.Name, h.endpoint)
}

// pair is two holders of one address.
type pair [2]holder

func newWatcher(hosts []*host, networks ...string) *watcher {
	return &watcher{hosts: hosts, networks: networks}
}

// watch looks until the returned function is called, and reports each address that two
// have.
func (c *cluster) watch(networks ...string) (stop func()) {
	ctx, cancel := context.WithCancel(c.Context())
	w := newWatcher(c.hosts, networks...)
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(watchEvery)
		defer ticker.Stop()
		for {
			for _, twice := range w.look() {
				c.Error(twice)
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
		c.Logf("looked %d times for an address that two have, among %d at most", w.looks, w.most)
	}
}

// look tells of each address that the same two containers have had since the last look.
//
// Each of them had it all the time in between, or its endpoint would be another one. But
// an engine shows a container as running, with its addresses, until it has told its
// drivers that the container is gone. So the word is with the processes and what their
// namespaces have.
func (w *watcher) look() []string {
	w.looks++
	now := pairs(w.holders())
	var twice []string
	for p := range now {
		if w.before[p] && p[0].lives() && p[1].lives() {
			twice = append(twice, fmt.Sprintf("%s and %s both have %s on network %s", p[0], p[1], p[0].addr, p[0].network))
		}
	}
	w.before = now
	slices.Sort(twice)
	return twice
}

// holders returns who has the networks' addresses now. A host that does not answer,
// since it is off, has nobody.
func (w *watcher) holders() []holder {
	found := make([][]holder, len(w.hosts))
	var g errgroup.Group
	for i, h := range w.hosts {
		g.Go(func() error {
			found[i] = h.holders(w.networks)
			return nil
		})
	}
	_ = g.Wait() // there is no error
	all := slices.Concat(found...)
	w.most = max(w.most, len(all))
	return all
}

func (h *host) holders(networks []string) []holder {
	var running []struct {
		ID              string `json:"Id"`
		NetworkSettings struct{ Networks map[string]attachment }
	}
	if h.ask("/containers/json", &running) != nil {
		return nil
	}
	var all []holder
	for _, c := range running {
		for _, network := range networks {
			a := c.NetworkSettings.Networks[network]
			for _, addr := range []string{a.IPAddress, a.GlobalIPv6Address} {
				if addr != "" {
					all = append(all, holder{h, c.ID, a.EndpointID, network, addr})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b holder) int { return cmp.Compare(a.container, b.container) })
	return all
}

// pairs returns the holders that have the same address on a network.
func pairs(holders []holder) map[pair]bool {
	first := map[[2]string]holder{}
	all := map[pair]bool{}
	for _, h := range holders {
		key := [2]string{h.network, h.addr}
		if other, ok := first[key]; ok {
			all[pair{other, h}] = true
		} else {
			first[key] = h
		}
	}
	return all
}

// lives reports whether the container's process runs and has the address.
func (h holder) lives() bool {
	var c inhabitant
	if h.host.ask("/containers/"+h.container+"/json", &c) != nil || !c.State.Running {
		return false
	}
	first, err := h.host.FirstPID()
	if err != nil {
		return false
	}
	links, err := interfacesIn(c.namespace(first))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(links, func(l netInterface) bool {
		return slices.ContainsFunc(l.addrs, func(a netip.Addr) bool { return a.String() == h.addr })
	})
}

// The watcher sees two that have the same address, and nobody who only had it. Networks
// of the engines' own driver, which know nothing of each other, make such two.
func TestClusterWatcher_seesAnAddressThatTwoHave(t *testing.T) {
	t.Parallel()
	inMixedCluster(t, func(c *cluster) {
		w := newWatcher(c.hosts, "twice")
		for _, h := range c.hosts[:2] {
			h.run("docker network create --subnet 10.82.0.0/24 twice")
			h.run("docker run -d --name twin --network twice --ip 10.82.0.9 busybox sleep 1d")
		}
		if got := w.look(); len(got) > 0 {
			c.Errorf("after one look it tells of %q, want to wait for a second", got)
		}
		if got := w.look(); len(got) != 1 || !strings.Contains(got[0], "10.82.0.9") {
			c.Errorf("after two looks it tells of %q, want of 10.82.0.9", got)
		}
		c.host(2).run("docker restart -t 0 twin")
		if got := w.look(); len(got) > 0 {
			c.Errorf("with another endpoint it tells of %q, want to wait for a second look", got)
		}
		c.host(2).run("docker rm -f twin")
		for range 2 {
			if got := w.look(); len(got) > 0 {
				c.Errorf("with one of the two removed it tells of %q", got)
			}
		}
		c.host(1).run("docker rm -f twin")
		for _, h := range c.hosts[:2] {
			h.run("docker network rm twice")
		}
	})
}
