package names

import (
	"context"
	"errors"
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
		n.learn(c)
	})
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
	if name, aliases, ok := n.Of(network, endpoint); ok {
		n.parts.Announcer.SetNames(network, endpoint, name, aliases)
	}
}

// Of returns what an endpoint is called, if that is known.
func (n *Names) Of(network driver.NetworkID, endpoint driver.EndpointID) (name string, aliases []string, ok bool) {
	l := n.labelOf(network, endpoint)
	if l == nil {
		return "", nil, false
	}
	return l.name, slices.Clone(l.aliases), true
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
