package names

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/engine"
)

// Heard is called with every event of the engine. It does not wait for anything.
func (n *Names) Heard(ev engine.Event) {
	id := driver.NetworkID(ev.Network)
	switch ev.Kind {
	case engine.Resync:
		n.work.do("engine", n.resync)
	case engine.NetworkCreated:
		if n.ours(id) {
			n.work.do("network "+ev.Network, func(ctx context.Context) { n.lookAtNetwork(ctx, id) })
		}
	case engine.Connected:
		if n.ours(id) {
			n.look(ev.Container)
		}
	case engine.Renamed:
		if n.hasEndpoint(ev.Container) || n.work.running(containerWork(ev.Container)) {
			n.look(ev.Container)
		}
	case engine.NetworkDestroyed, engine.Disconnected:
		// The verbs have told of it.
	}
}

// Compare is called from time to time with what the engine knows of its networks. It
// has what is not known yet looked at, has responders put back that are missing, and
// returns what it put right.
func (n *Names) Compare(ctx context.Context, view map[string]engine.Network) (repairs []string) {
	n.compare(view, false)
	return n.stations.repair(ctx, n.keys())
}

// resync learns everything anew.
func (n *Names) resync(ctx context.Context) {
	var view map[string]engine.Network
	n.ask(ctx, "networks", func() (err error) {
		view, err = n.parts.Engine.Networks(ctx)
		return err
	})
	n.compare(view, true)
}

func (n *Names) lookAtNetwork(ctx context.Context, id driver.NetworkID) {
	var view engine.Network
	n.ask(ctx, "network "+id.Short(), func() (err error) {
		view, err = n.parts.Engine.Network(ctx, string(id))
		return err
	})
	n.compare(map[string]engine.Network{string(id): view}, false)
}

// compare takes over what the engine calls networks, and looks at those of their
// containers that are not known by the right name, or at all of them.
func (n *Names) compare(view map[string]engine.Network, all bool) {
	var containers []string
	for id, v := range view {
		if v.Name == "" {
			continue // it did not answer
		}
		n.setName(driver.NetworkID(id), v.Name)
		n.mu.Lock()
		if have, ok := n.networks[driver.NetworkID(id)]; ok {
			for ep, e := range have.endpoints {
				if e.label != nil && e.label.remembered && !v.Endpoints[string(ep)] {
					// Its container ended while nobody was there to be told.
					n.setLabelLocked(driver.NetworkID(id), ep, nil)
					n.save(driver.NetworkID(id), ep)
				}
				container := v.EndpointContainers[string(ep)]
				if container != "" && (all || e.label == nil || e.label.name != v.EndpointNames[string(ep)]) {
					containers = append(containers, container)
				}
			}
		}
		n.mu.Unlock()
	}
	slices.Sort(containers)
	for _, c := range slices.Compact(containers) {
		n.look(c)
	}
}

func containerWork(id string) string { return "container " + id }

// look has a container looked at, in the background: the engine's answer may have to
// wait for its start.
func (n *Names) look(container string) {
	n.work.do(containerWork(container), func(ctx context.Context) {
		select {
		case n.looks <- struct{}{}:
			defer func() { <-n.looks }()
		case <-ctx.Done():
			return
		}
		var c engine.Inspection
		n.ask(ctx, containerWork(container[:min(len(container), shortID)]), func() (err error) {
			c, err = n.parts.Engine.Inspect(ctx, container)
			return err
		})
		n.lookInside(&c)
		n.learn(c)
	})
}

// lookInside notes where a container lacks the IPv6 address that the engine shows.
// Engines up to 27 do not see that a --sysctl has switched IPv6 off: it acts after they
// have given the interfaces their addresses.
func (n *Names) lookInside(c *engine.Inspection) {
	for i := range c.Attachments {
		at := &c.Attachments[i]
		key, six := n.sixOf(driver.NetworkID(at.Network), driver.EndpointID(at.Endpoint))
		if at.NoIPv6 || len(six) == 0 {
			continue
		}
		// Without a namespace the container has ended, and its names go by the verbs.
		if have, err := n.parts.Sandboxes.Addrs(key); err == nil {
			at.NoIPv6 = !slices.ContainsFunc(six, func(a netip.Addr) bool { return slices.Contains(have, a) })
		}
	}
}

// ask asks the engine until it answers, but not for ever. That there is no such thing
// is an answer.
func (n *Names) ask(ctx context.Context, what string, question func() error) {
	for failures := range maxTries {
		err := question()
		if err == nil || errors.Is(err, engine.ErrNotFound) {
			return
		}
		n.log.WithError(err).WithField("about", what).Debug("the engine did not tell names")
		if !n.retry.Wait(ctx, failures) {
			return
		}
	}
}

// learn takes over what a container is called. Endpoints that are not ours, or no
// longer, do not matter.
func (n *Names) learn(c engine.Inspection) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, at := range c.Attachments {
		id, ep := driver.NetworkID(at.Network), driver.EndpointID(at.Endpoint)
		have, l := n.endpointLocked(id, ep), newLabel(c, at)
		if have == nil {
			continue
		}
		if have.label.equal(l) {
			have.label = l // no longer remembered alone
			continue
		}
		n.setLabelLocked(id, ep, l)
		n.save(id, ep)
		if n.parts.Announcer != nil {
			n.work.do("announce "+at.Endpoint, func(context.Context) { n.announce(id, ep) })
		}
	}
}

// announce tells other hosts what an endpoint is called now.
func (n *Names) announce(network driver.NetworkID, endpoint driver.EndpointID) {
	if k, ok := n.Of(network, endpoint); ok {
		n.parts.Announcer.SetNames(network, endpoint, k.Name, k.Aliases)
	}
}

// Known is what is known of an endpoint beyond what its verbs tell.
type Known struct {
	Name    string
	Aliases []string
	// Addrs are the addresses that its interface has.
	Addrs []netip.Addr
}

// Of returns what is known of an endpoint, once the engine has told it.
func (n *Names) Of(network driver.NetworkID, endpoint driver.EndpointID) (Known, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ep := n.endpointLocked(network, endpoint)
	if ep == nil || ep.label == nil {
		return Known{}, false
	}
	return Known{Name: ep.label.name, Aliases: slices.Clone(ep.label.aliases), Addrs: slices.Clone(ep.answers())}, true
}

// sixOf returns an endpoint's IPv6 addresses, and its sandbox.
func (n *Names) sixOf(network driver.NetworkID, endpoint driver.EndpointID) (sandbox string, six []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ep := n.endpointLocked(network, endpoint)
	if ep == nil {
		return "", nil
	}
	return ep.sandbox, slices.DeleteFunc(slices.Clone(ep.addrs), netip.Addr.Is4)
}

func (n *Names) ours(id driver.NetworkID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.networks[id] != nil
}

// hasEndpoint reports whether an endpoint is known to be of that container.
func (n *Names) hasEndpoint(container string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, have := range n.networks {
		for _, ep := range have.endpoints {
			if ep.label != nil && ep.label.container == container {
				return true
			}
		}
	}
	return false
}
