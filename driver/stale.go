package driver

import (
	"context"
	"time"
)

const (
	// staleWait is how long the kernel may take to remove the interfaces of
	// sandboxes that have ended: it does so in the background.
	staleWait = time.Second
	// stalePoll is how often the interface is looked for meanwhile.
	stalePoll = 20 * time.Millisecond
)

// Prober is a [Driver] that can tell when an endpoint has lost its sandbox.
type Prober interface {
	// Attached reports whether the interface that Join made is still there. It
	// goes with the sandbox that it is in.
	Attached(ep Endpoint) (bool, error)
}

// yieldPorts takes back those published ports that are in the way of bindings and
// belong to endpoints whose interface is gone.
//
// After its own crash, or the host's, the engine removes what it then knows to be
// stale; but it does not load a driver for that (moby daemon/libnetwork/endpoint.go,
// Delete with force), so nobody tells us. The containers start again at once, and
// the port must not be kept from them until the keeper finds what was forgotten.
// So do those of an endpoint with the same address: it is the container's own former
// one, whose ports it shall have again.
// No turn may be held by the caller.
func (r *Registry) yieldPorts(ctx context.Context, network NetworkID, id EndpointID, bindings []Binding) error {
	ep, _ := r.Endpoint(network, id)
	patience, cancel := context.WithTimeout(ctx, staleWait)
	defer cancel()
	for _, other := range r.publishers() {
		if other.ID == id {
			continue
		}
		may, must := collide(other.Published, bindings)
		if sameOwner(ep, other.Endpoint) && len(bindings) > 0 {
			may, must = true, true
		}
		if !may {
			continue
		}
		gone, err := isGone(patience, other.prober, other.Endpoint, must)
		if err != nil {
			return err
		}
		if !gone {
			continue // Publish says whose the port is
		}
		r.log.WithField("endpoint", other.ID.Short()).Warn("published ports taken back: the endpoint's interface is gone")
		if err := r.Leave(ctx, other.Network, other.ID); err != nil {
			return err
		}
	}
	return nil
}

// publisher is an endpoint with published ports, and who can tell whether it still has
// its interface.
type publisher struct {
	Endpoint

	prober Prober
}

// publishers returns those, without a copy of all the others: every verb that
// publishes asks.
func (r *Registry) publishers() []publisher {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []publisher
	for _, entry := range r.networks {
		p, ok := r.drivers[entry.network.Options.Type].(Prober)
		if !ok || entry.pending {
			continue
		}
		for _, ep := range entry.endpoints {
			if len(ep.Published) > 0 {
				all = append(all, publisher{ep, p})
			}
		}
	}
	return all
}

// sameOwner reports whether two endpoints are of the same container.
func sameOwner(a, b Endpoint) bool {
	x, ok := owner(a)
	y, _ := owner(b)
	return ok && a.Network == b.Network && x == y
}

// collide reports whether one of the published ports may be wanted by a binding, and
// whether one must be, since the binding has no other to choose.
func collide(published, bindings []Binding) (may, must bool) {
	for _, p := range published {
		for _, b := range bindings {
			last := max(b.HostPort, b.HostPortEnd)
			apart := b.HostAddr.IsValid() && b.HostAddr != p.HostAddr && !b.HostAddr.IsUnspecified() && !p.HostAddr.IsUnspecified()
			if p.HostPort != 0 && p.Protocol == b.Protocol && b.HostPort <= p.HostPort && p.HostPort <= last && !apart {
				may, must = true, must || b.HostPort == last
			}
		}
	}
	return may, must
}

// isGone reports whether the endpoint's interface is gone, or, if wait says so, goes
// before patience ends.
func isGone(patience context.Context, p Prober, ep Endpoint, wait bool) (bool, error) {
	again := time.NewTicker(stalePoll)
	defer again.Stop()
	for {
		there, err := p.Attached(ep)
		if err != nil || !there {
			return !there && err == nil, err
		}
		if !wait {
			return false, nil
		}
		select {
		case <-patience.Done():
			return false, nil
		case <-again.C:
		}
	}
}
