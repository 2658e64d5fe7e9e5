package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	containerapi "github.com/moby/moby/api/types/container"
	networkapi "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/test/lab"
)

// crowdSize is how many containers attach and detach in parallel. A /24, the subnet of
// a network that was made without one, has room for 200: as many take minutes of two
// cores, nearly all of them for what an engine does to start a container.
var crowdSize = flag.Int("crowd", 64, "how many containers attach and detach in parallel, up to 250")

const (
	// crowdCalls is how many of the engine's API calls are under way at a time.
	crowdCalls = 32
	// crowdTime bounds each thing that all of them do.
	crowdTime = 10 * time.Minute
	// crowdPatience is how long records and devices may differ from what the engine
	// shows while the keeper, once a second, looks at a full house. It is less than the
	// minute after which the plugin removes what nobody knows.
	crowdPatience = 45 * time.Second
)

// Many containers attach, connect to another network, disconnect and detach,
// many at a time: none fails, no two have the same address, each reaches all, and
// what is left is nothing.
//
// One engine after the other: the kernel has one neighbour table for all namespaces,
// and with its usual 1,024 entries (net.ipv4.neigh.default.gc_thresh3) four hundred
// containers that talk to each other at the same moment lose packets.
func TestParallel_manyContainersAttachAndDetach(t *testing.T) {
	eachFreshInTurn(t, func(h *host) {
		h.leaveClean()
		var before map[string][]byte
		h.eventually("the records", func() (err error) {
			before, err = h.records()
			return err
		})
		h.run("docker network create -d ournet --ipam-driver ournet crowd")
		h.run("docker network create -d ournet --ipam-driver ournet second")
		c := newCrowd(h)

		c.all("create", c.create)
		c.all("start on crowd", c.start)
		c.isOn("crowd")
		c.reachesAll("crowd")
		c.all("connect to second", c.connect)
		c.isOn("crowd")
		c.isOn("second")
		c.reachesAll("second")
		c.all("disconnect from second", c.disconnect)
		c.isNotOn("second")
		// What was given back must not have taken more with it.
		c.isOn("crowd")
		c.reachesAll("crowd")
		c.all("connect to second again", c.connect)
		c.isOn("second")
		c.all("remove by force", c.remove)
		c.isNotOn("crowd")
		c.isNotOn("second")

		c.reportVerbs()
		c.recount()
		h.run("docker network rm crowd second")
		h.assertRecords(before, "after the networks' removal")
	})
}

// eachFreshInTurn is [eachFresh] with one engine at a time.
func eachFreshInTurn(t *testing.T, test func(h *host)) {
	t.Helper()
	for _, engine := range lab.Engines() {
		t.Run(string(engine), func(t *testing.T) {
			l, err := newLab(t.Context(), engine)
			if err != nil {
				t.Fatalf("make the lab: %v", err)
			}
			t.Cleanup(func() {
				if err := l.Down(context.WithoutCancel(t.Context())); err != nil {
					t.Errorf("remove the lab: %v", err)
				}
			})
			test(newHost(t, l, l.Host(1)))
		})
	}
}

// crowd is many containers, which are told what to do by the engine's API: a client's
// process for each call would measure the machine.
type crowd struct {
	h   *host
	api *client.Client
	// names are of all containers.
	names []string
}

func newCrowd(h *host) *crowd {
	h.Helper()
	api, err := client.New(client.WithHost("unix://" + h.Socket()))
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		if err := api.Close(); err != nil {
			h.Error(err)
		}
	})
	if _, err := api.Ping(h.ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		h.Fatal(err)
	}
	c := &crowd{h: h, api: api}
	for i := range *crowdSize {
		c.names = append(c.names, fmt.Sprintf("member%03d", i))
	}
	return c
}

// all does something with all containers, many at a time, and fails if any of it does.
func (c *crowd) all(what string, do func(ctx context.Context, name string) error) {
	c.h.Helper()
	ctx, cancel := context.WithTimeout(c.h.ctx, crowdTime)
	defer cancel()
	begin := time.Now()
	errs := make([]error, len(c.names))
	var g errgroup.Group
	g.SetLimit(crowdCalls)
	for i, name := range c.names {
		g.Go(func() error {
			if err := do(ctx, name); err != nil {
				errs[i] = fmt.Errorf("%s: %w", name, err)
			}
			return nil // the others go on
		})
	}
	_ = g.Wait() // all errors are in errs
	c.h.Logf("%s: %d in %.1f s", what, len(c.names), time.Since(begin).Seconds())
	if err := errors.Join(errs...); err != nil {
		c.h.Fatalf("%s: %v", what, err)
	}
}

func (c *crowd) create(ctx context.Context, name string) error {
	noInit := false // one process each is enough; they are killed
	_, err := c.api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name:       name,
		Config:     &containerapi.Config{Image: lab.BusyboxImage, Cmd: []string{"sleep", "1d"}},
		HostConfig: &containerapi.HostConfig{NetworkMode: "crowd", Init: &noInit},
	})
	return err
}

func (c *crowd) start(ctx context.Context, name string) error {
	_, err := c.api.ContainerStart(ctx, name, client.ContainerStartOptions{})
	return err
}

func (c *crowd) connect(ctx context.Context, name string) error {
	_, err := c.api.NetworkConnect(ctx, "second", client.NetworkConnectOptions{Container: name})
	return err
}

func (c *crowd) disconnect(ctx context.Context, name string) error {
	_, err := c.api.NetworkDisconnect(ctx, "second", client.NetworkDisconnectOptions{Container: name})
	return err
}

func (c *crowd) remove(ctx context.Context, name string) error {
	_, err := c.api.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true})
	return err
}

// recount restarts the engine, which then counts its endpoints anew. When many come
// and go at once it loses count, on networks of its own driver as well, and keeps the
// network because it "has active endpoints": 20.10 has a counter that is not changed
// atomically (its start says "Fixing inconsistent endpoint_cnt"), and in 29 whoever
// reads an endpoint while it is deleted puts it back into the engine's cache
// (daemon/libnetwork/endpoint_store.go, getEndpointFromStore).
func (c *crowd) recount() {
	c.h.Helper()
	if err := c.h.RestartEngine(c.h.ctx); err != nil {
		c.h.Fatal(err)
	}
}

// inspect returns what the engine shows of a network.
func (c *crowd) inspect(name string) networkapi.Inspect {
	c.h.Helper()
	got, err := c.api.NetworkInspect(c.h.ctx, name, client.NetworkInspectOptions{})
	if err != nil {
		c.h.Fatal(err)
	}
	return got.Network
}

// isOn asserts that every container is on the network, with an address and a MAC
// address of its own, and that records and devices are those.
func (c *crowd) isOn(name string) {
	c.h.Helper()
	n := c.inspect(name)
	addresses, macs := map[netip.Addr]string{}, map[string]string{}
	for _, ep := range n.Containers {
		address, mac := ep.IPv4Address.Addr(), ep.MacAddress.String()
		if !address.IsValid() || mac == "" {
			c.h.Errorf("%s: %s has the address %q and the MAC address %q", name, ep.Name, address, mac)
		}
		if other, taken := addresses[address]; taken {
			c.h.Errorf("%s: %s and %s both have the address %s", name, ep.Name, other, address)
		}
		if other, taken := macs[mac]; taken {
			c.h.Errorf("%s: %s and %s both have the MAC address %s", name, ep.Name, other, mac)
		}
		addresses[address], macs[mac] = ep.Name, ep.Name
	}
	if names := slices.Sorted(maps.Values(addresses)); !slices.Equal(names, c.names) {
		c.h.Errorf("network %s shows %d containers, want %d (-want +got):\n%s", name, len(names), len(c.names), cmp.Diff(c.names, names))
	}
	c.h.assertJustified(crowdPatience, "with all on "+name)
}

// reachesAll asserts that the first container's pings to all are answered.
func (c *crowd) reachesAll(name string) {
	c.h.Helper()
	argv := []string{"exec", c.names[0], "sh", "-c", `for a; do ping -c 1 -W 10 $a >/dev/null || echo $a; done`, "sh"}
	for _, ep := range c.inspect(name).Containers {
		argv = append(argv, ep.IPv4Address.Addr().String())
	}
	if silent := strings.Fields(c.h.docker(argv...)); len(silent) > 0 {
		c.h.Errorf("network %s: %s does not reach %d of %d: %s", name, c.names[0], len(silent), len(c.names), silent)
	}
}

// isNotOn asserts that the network has no container, and that the records and devices
// of those that were there are gone.
func (c *crowd) isNotOn(name string) {
	c.h.Helper()
	if n := len(c.inspect(name).Containers); n > 0 {
		c.h.Errorf("network %s shows %d containers, want none", name, n)
	}
	c.h.assertJustified(crowdPatience, "with nobody on "+name)
}

// assertRecords asserts that the plugin's store holds exactly what it held.
func (h *host) assertRecords(want map[string][]byte, when string) {
	h.Helper()
	var diff string
	err := lab.Poll(h.ctx, "the records to be as before", func() error {
		have, err := h.records()
		if err != nil {
			return err
		}
		if diff = cmp.Diff(want, have); diff != "" {
			return errors.New("they are not")
		}
		return nil
	})
	if err != nil {
		h.Errorf("%v\nrecords %s (-before +after):\n%s", err, when, diff)
	}
}

// reportVerbs prints how long the plugin's verbs took, and asserts that none failed.
func (c *crowd) reportVerbs() {
	c.h.Helper()
	verbs, err := c.h.verbs()
	if err != nil {
		c.h.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(verbs)) {
		v := verbs[name]
		c.h.Logf("%-42s %4d calls, p50 %7.1f ms, p99 %7.1f ms", name, v.Count, float64(v.P50)/1000, float64(v.P99)/1000)
		if v.Errors > 0 {
			c.h.Errorf("%s failed %d times of %d", name, v.Errors, v.Count)
		}
	}
}
