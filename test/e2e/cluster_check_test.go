package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/test/lab"
)

// facts are lines about a cluster, by where they hold: a host, or the store.
type facts map[string][]string

// inStore is the place of facts that Consul holds.
const inStore = "store"

func (f facts) add(place, format string, args ...any) {
	f[place] = append(f[place], fmt.Sprintf(format, args...))
}

func (f facts) sort() {
	for place := range f {
		slices.Sort(f[place])
	}
}

// promised is how long the plugins may work on after the last thing that happened, on a
// machine that does nothing else. What was wrong for longer is logged. That Consul elects
// a leader is such a thing too: on a machine with much else to do its servers take each
// other for dead.
const promised = 2 * time.Second

// quiet is how long they may on a machine that has much else to do.
const quiet = 30 * time.Second

// assertConsistent asserts that what is on every host and in Consul is what the living
// containers say: their addresses, forwarding entries, neighbours, tunnels, sources
// that are let in, records, and the names that each of them can resolve. Two containers
// with the same address are an error whenever they are seen.
//
// It returns how long it may not have been so: until the look ended that found all as it
// should be. A look takes a part of a second, and several on a machine with much else to
// do.
func (c *cluster) assertConsistent(when string) time.Duration {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), quiet)
	defer cancel()
	begin := time.Now()
	var look time.Time
	var diff, last string
	var residents []resident
	err := lab.Poll(ctx, "the cluster to be consistent", func() error {
		look = time.Now()
		var err error
		if residents, err = c.residents(); err != nil {
			return err
		}
		if diff, err = c.compare(when, residents); err != nil {
			return err
		}
		if diff != "" {
			last = fmt.Sprintf("seen after %.2f s (-wanted +found):\n%s", time.Since(begin).Seconds(), diff)
			return errors.New("it is not")
		}
		return nil
	})
	end := time.Now()
	if err != nil {
		c.Errorf("%s: %v\nwhat hosts and store have (-wanted +found):\n%s", when, err, diff)
		return end.Sub(begin)
	}
	took := end.Sub(c.quietSince(begin, end))
	c.Logf("%s: consistent after %.2f s with a look of %.2f s, %d containers", when, took.Seconds(), end.Sub(look).Seconds(), len(residents))
	if end.Sub(begin) > promised && last != "" {
		c.Logf("%s: what was last to come, %s", when, last)
	}
	return took
}

// quietSince returns when all that can happen had happened: as said, or, if there was no
// leader of Consul then, once there was one.
func (c *cluster) quietSince(said, end time.Time) time.Time {
	c.Helper()
	if end.Sub(said) <= promised {
		return said // whatever happened
	}
	elected, err := c.consul.Elected()
	if err != nil {
		c.Fatal(err)
	}
	if !elected.After(said) || elected.After(end) {
		return said
	}
	c.Logf("Consul elected a leader in the quiet, %.2f s after it began; all was well at %.2f s", elected.Sub(said).Seconds(), end.Sub(said).Seconds())
	return elected
}

// compare looks once, and returns what is different from what the residents say.
func (c *cluster) compare(when string, residents []resident) (diff string, err error) {
	c.Helper()
	if twice := duplicates(residents); len(twice) > 0 {
		c.Errorf("%s: %s", when, strings.Join(twice, "; "))
	}
	networks, err := c.sharedNetworks()
	if err != nil {
		return "", err
	}
	want, err := c.wanted(networks, residents)
	if err != nil {
		return "", err
	}
	have, err := c.found(networks, residents)
	if err != nil {
		return "", err
	}
	return gocmp.Diff(want, have), nil
}

// duplicates tells of addresses that two living containers of a network have.
func duplicates(residents []resident) []string {
	owners := map[string]string{}
	var twice []string
	for _, r := range residents {
		for _, addr := range r.addresses() {
			key := r.network.cluster + " " + addr
			if other := owners[key]; other != "" {
				twice = append(twice, fmt.Sprintf("%s and %s both have %s on network %s", other, r.name(), addr, r.network.name))
			}
			owners[key] = r.name()
		}
	}
	return twice
}

// The forms of what the product makes, in one place.

func bridgeName(engineID string) string { return "on-" + engineID[:12] }

func tunnelName(vni uint32) string { return fmt.Sprintf("onx%06x", vni) }

func tunnelLine(device string, vni uint32, bridge, local string) string {
	return fmt.Sprintf("tunnel %s: vni %d port %s from %s", device, vni, bridge, local)
}

func forwardLine(device, mac, to string) string {
	return fmt.Sprintf("forward %s: %s to %s", device, mac, to)
}

func neighbourLine(bridge, addr, mac string) string {
	return fmt.Sprintf("neighbour on %s: %s is %s", bridge, addr, mac)
}

func sourceLine(addr string) string { return "packets between hosts from " + addr }

func interfaceLine(container, network, mac string, addrs []string) string {
	return fmt.Sprintf("interface of %s on %s: %s %s", container, network, mac, strings.Join(slices.Sorted(slices.Values(addrs)), " "))
}

func nameLine(asker, name string, addrs []string) string {
	return fmt.Sprintf("%s resolves %s: %s", asker, name, strings.Join(slices.Sorted(slices.Values(addrs)), " "))
}

func recordLine(network, host, endpoint, mac string, addrs []string) string {
	return fmt.Sprintf("endpoint %s of %s on %s: %s %s", endpoint[:12], network, host, mac, strings.Join(slices.Sorted(slices.Values(addrs)), " "))
}

func memberLine(network, host string) string { return fmt.Sprintf("member %s of %s", host, network) }

// floodMAC is the address of frames for everybody, and of those to who is not known.
const floodMAC = "00:00:00:00:00:00"

// wanted is what the living containers say.
func (c *cluster) wanted(networks map[string]sharedNetwork, residents []resident) (facts, error) {
	want := facts{}
	members := map[string][]*host{} // by the cluster's id
	local := map[string]string{}    // the engine's id, by host and cluster's id
	for _, h := range c.hosts {
		here, err := h.ournetNetworks()
		if err != nil {
			return nil, err
		}
		for _, n := range here {
			shared, ok := sharedOf(networks, n)
			if !ok {
				continue // of this host alone
			}
			members[shared.cluster] = append(members[shared.cluster], h)
			local[h.Name+shared.cluster] = n.ID
		}
	}
	for _, n := range networks {
		want.add(inStore, "network %s: vni %d", n.name, n.vni)
		for _, h := range members[n.cluster] {
			want.add(inStore, "%s", memberLine(n.name, h.Name))
			c.wantNetwork(want, n, h, local[h.Name+n.cluster], members[n.cluster], residents)
		}
	}
	for _, r := range residents {
		want.add(inStore, "%s", recordLine(r.network.name, r.host.Name, r.endpoint, r.mac, r.addresses()))
		want.add(r.host.Name, "%s", interfaceLine(r.container, r.network.name, r.mac, r.addresses()))
		for name, addrs := range namesOf(r.network.cluster, residents) {
			want.add(r.host.Name, "%s", nameLine(r.container, name+"."+r.network.name, addrs))
		}
	}
	for _, h := range c.hosts {
		for _, other := range c.hosts { // itself, too
			want.add(h.Name, "%s", sourceLine(c.vtep(other)))
		}
	}
	want.sort()
	return want, nil
}

// wantNetwork adds what a network needs on one host.
func (c *cluster) wantNetwork(want facts, n sharedNetwork, on *host, engineID string, members []*host, residents []resident) {
	place, device, bridge := on.Name, tunnelName(n.vni), bridgeName(engineID)
	want.add(place, "%s", tunnelLine(device, n.vni, bridge, c.vtep(on)))
	for _, other := range members {
		if other != on {
			want.add(place, "%s", forwardLine(device, floodMAC, c.vtep(other)))
		}
	}
	for _, r := range residents {
		if r.network.cluster != n.cluster {
			continue
		}
		if r.host != on {
			want.add(place, "%s", forwardLine(device, r.mac, c.vtep(r.host)))
		}
		for _, addr := range r.addresses() {
			want.add(place, "%s", neighbourLine(bridge, addr, r.mac))
		}
	}
}

// namesOf returns the containers' names on a network with the addresses of each.
func namesOf(network string, residents []resident) map[string][]string {
	names := map[string][]string{}
	for _, r := range residents {
		if r.network.cluster == network {
			names[r.container] = append(names[r.container], r.addresses()...)
		}
	}
	return names
}

// sharedOf returns the cluster's network that an engine's is.
func sharedOf(networks map[string]sharedNetwork, n network) (sharedNetwork, bool) {
	for _, id := range slices.Sorted(maps.Keys(networks)) {
		if networks[id].name == n.Name && n.Options["type"] == "overlay" {
			return networks[id], true
		}
	}
	return sharedNetwork{}, false
}
