package driver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Publish publishes ports of an endpoint, all or none. Publishing the same again
// is success; other ports replace the former.
func (r *Registry) Publish(ctx context.Context, network NetworkID, id EndpointID, bindings []Binding) error {
	if err := r.yieldPorts(ctx, network, id, bindings); err != nil {
		return fmt.Errorf("publish ports: %w", err)
	}
	d, n, ep, done, err := r.endpointTurn(ctx, network, id)
	if err != nil {
		return fmt.Errorf("publish ports: %w", err)
	}
	defer done()
	p, ok := d.(Publisher)
	if !ok || !n.OwnGateway() {
		return nil // the engine publishes through docker_gwbridge, or nobody does
	}
	if len(ep.Published) > 0 {
		if slices.Equal(ep.Bindings, bindings) {
			return nil
		}
		if err := p.Unpublish(ctx, n, ep); err != nil {
			return fmt.Errorf("publish ports: take back the former: %w", err)
		}
		ep.Published = nil
		if err := r.writeEndpoint(ctx, ep); err != nil {
			return fmt.Errorf("publish ports: %w", err)
		}
	}
	if len(bindings) == 0 {
		return nil
	}
	ep.Bindings = bindings
	if ep.Published, err = p.Publish(ctx, n, ep, r.ports.former(ep, r.siblings(ep))); err != nil {
		return fmt.Errorf("publish ports: %w", err)
	}
	if err := r.writePublished(ctx, ep); err != nil {
		uctx, cancel := undoContext(ctx)
		defer cancel()
		return errors.Join(fmt.Errorf("publish ports: %w", err), p.Unpublish(uctx, n, ep))
	}
	return nil
}

// Unpublish takes back the ports of an endpoint. An unknown id is success.
func (r *Registry) Unpublish(ctx context.Context, network NetworkID, id EndpointID) error {
	d, n, ep, done, err := r.endpointTurn(ctx, network, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unpublish ports: %w", err)
	}
	defer done()
	p, ok := d.(Publisher)
	if !ok || len(ep.Published) == 0 {
		return nil
	}
	if err := p.Unpublish(ctx, n, ep); err != nil {
		return fmt.Errorf("unpublish ports: %w", err)
	}
	ep.Published = nil
	if err := r.writeEndpoint(ctx, ep); err != nil {
		return fmt.Errorf("unpublish ports: %w", err)
	}
	return nil
}

// writePublished makes the ports that an endpoint has durable, and remembers them for
// the container's next start.
func (r *Registry) writePublished(ctx context.Context, ep Endpoint) error {
	remember, done, err := r.ports.write(ep, func() map[netip.Addr]bool { return r.publishedAddrs(ep.Network) })
	if err != nil {
		return err
	}
	if err := r.writeEndpoint(ctx, ep, remember...); err != nil {
		return err
	}
	done()
	return nil
}

// siblings returns the endpoints that the same container has on other networks.
func (r *Registry) siblings(ep Endpoint) []Endpoint {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var list []Endpoint
	for _, entry := range r.networks {
		for _, other := range entry.endpoints {
			if other.ID != ep.ID && ep.SandboxKey != "" && other.SandboxKey == ep.SandboxKey {
				list = append(list, other)
			}
		}
	}
	return list
}

// publishedAddrs returns the addresses on a network that have ports of the host now.
func (r *Registry) publishedAddrs(network NetworkID) map[netip.Addr]bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	addrs := make(map[netip.Addr]bool)
	if entry, ok := r.networks[network]; ok {
		for _, ep := range entry.endpoints {
			if addr, ok := owner(ep); ok && len(ep.Published) > 0 {
				addrs[addr] = true
			}
		}
	}
	return addrs
}
