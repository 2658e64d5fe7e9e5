package e2e

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/test/lab"
)

// estate is a host's networks and containers of all kinds, as they were when it
// was opened: what must be there again after whatever happens to the host.
//
// Engines before 29 do not say which container an address is for, so dynamic
// addresses of containers that start again at the same instant on the same network
// may change hands there (docs/adr/0007-sticky-addresses.md). On such an engine each
// network has one container with a dynamic address, and the others have --ip.
type estate struct {
	h *host
	// addresses are "address MAC" by container and network.
	addresses map[string]map[string]string
	// state has names in place of ids; see [host.namedState].
	state state
}

// estateLines make the estate: front has ournet's IPAM, back the engine's, closed is
// internal. All containers come back by themselves, but for visitor. The host ports of
// -P shall be the same: they are in the state, as rules and sockets.
const estateLines = `
docker network create -d ournet --ipam-driver ournet --subnet 10.210.0.0/24 front
docker network create -d ournet --subnet 10.211.0.0/24 back
docker network create -d ournet --ipam-driver ournet --internal --subnet 10.212.0.0/24 closed
docker run -d --name gone --network front busybox sleep 1d
docker run -d --restart always --name web --network front -p 8085:6379 -p 8085:6379/udp redis
docker run -d --restart always --name app --network front --ip 10.210.0.77 redis
docker network connect --ip 10.211.0.77 back app
docker run -d --restart always --name base --network back --ip 10.211.0.5 busybox sleep 1d
docker run -d --restart always --name chosen --network front --ip 10.210.0.66 -P redis
docker run -d --restart always --name vault --network closed redis
docker run -d --restart always --name guard --network closed --ip 10.212.0.200 busybox sleep 1d
docker run -d --name visitor --network front --ip 10.210.0.99 busybox sleep 1d
`

// estateLines29 are for engines that say which container an address is for.
const estateLines29 = `
docker run -d --restart always --name more1 --network front busybox sleep 1d
docker run -d --restart always --name more2 --network front -P redis
docker run -d --restart always --name more3 --network closed busybox sleep 1d
`

func openEstate(h *host) *estate {
	h.Helper()
	lines := strings.TrimSpace(estateLines)
	if h.Engine != lab.Engine2010 {
		lines += estateLines29
	}
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		h.run(line)
	}
	// An address is free now that no one who comes back must shift into.
	h.run("docker rm -f gone")
	e := &estate{h: h}
	all, err := h.inhabitants()
	if err != nil {
		h.Fatal(err)
	}
	e.addresses, e.state = addressesOf(all), h.namedState()
	h.assertJustified(settle, "when the estate was opened")
	return e
}

// in returns the estate for a part of the test.
func (e *estate) in(h *host) *estate {
	part := *e
	part.h = h
	return &part
}

func addressesOf(all map[string]inhabitant) map[string]map[string]string {
	addresses := map[string]map[string]string{}
	for name, c := range all {
		addresses[name] = map[string]string{}
		for network, a := range c.NetworkSettings.Networks {
			addresses[name][network] = a.IPAddress + " " + a.MacAddress
		}
	}
	return addresses
}

// address is without its prefix length.
func (e *estate) address(container, network string) string {
	addr, _, _ := strings.Cut(e.addresses[container][network], " ")
	return addr
}

func (e *estate) published() string { return e.h.Address().String() + ":8085" }

// isWhole asserts that everything is as it was when the estate was opened: at once,
// or once the containers with a restart policy are back.
func (e *estate) isWhole() {
	e.h.Helper()
	e.comesBack()
	e.h.run("docker start visitor") // nobody brings it back; if it runs this does nothing
	all, err := e.h.inhabitants()
	if err != nil {
		e.h.Fatal(err)
	}
	if diff := cmp.Diff(e.addresses, addressesOf(all)); diff != "" {
		e.h.Errorf("addresses and MAC addresses (-before +after):\n%s", diff)
	}
	e.traffic()
	e.h.assertJustified(settle, "of the estate")
	e.h.assertNamedState(e.state, "of the estate")
}

// comesBack waits until all containers that shall run by themselves do, with all of
// their addresses.
func (e *estate) comesBack() {
	e.h.Helper()
	err := lab.Poll(e.h.ctx, "the containers with a restart policy", func() error {
		all, err := e.h.inhabitants()
		if err != nil {
			return err
		}
		var missing []string
		for name, addresses := range e.addresses {
			for network := range addresses {
				if name != "visitor" && all[name].NetworkSettings.Networks[network].IPAddress == "" {
					missing = append(missing, name+" on "+network)
				}
			}
		}
		if len(missing) > 0 {
			slices.Sort(missing)
			return errors.New("missing: " + strings.Join(missing, ", "))
		}
		return nil
	})
	if err != nil {
		e.h.Fatal(err)
	}
}

// traffic asserts that everyone who may reaches everyone, and others do not.
func (e *estate) traffic() {
	e.h.Helper()
	h := e.h
	for container, targets := range map[string][]string{
		"web":     {"app", "visitor", "10.210.0.1"},
		"visitor": {"web", "app"},
		"app":     {"web", "base"},
		"base":    {"app", "10.211.0.1"},
		"guard":   {"vault"},
		"vault":   {"guard"},
	} {
		for _, target := range targets {
			h.reaches(container, target)
		}
	}
	h.reachesNot("web", e.address("base", "back"))
	h.reachesNot("guard", h.lab.Outside.Address().String())
	for _, container := range []string{"web", "base"} {
		for _, protocol := range []string{"tcp", "udp"} {
			if seen := h.seenOutside(container, protocol); seen != h.Address().String() {
				h.Errorf("by %s the outside sees %s for %s, want the host's %s", protocol, seen, container, h.Address())
			}
		}
	}
	for _, protocol := range []string{"tcp", "udp"} {
		if seen := h.calledFromOutside(protocol, e.published()); seen != h.lab.Outside.Address().String() {
			h.Errorf("by %s the published port saw %s, want the outside's own address", protocol, seen)
		}
	}
}

// part runs a part of the test under a name of its own; it reports whether it passed.
// lasting is a context for after the test.
func (h *host) lasting() context.Context { return context.WithoutCancel(h.ctx) }

func (h *host) part(name string, test func(h *host)) bool {
	h.Helper()
	return h.Run(name, func(t *testing.T) {
		p := *h
		p.T, p.ctx = t, t.Context()
		test(&p)
	})
}
