package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ournet/ournet/internal/store"
)

// Announce says that this host has an endpoint, or that it is otherwise now. It needs
// this host's disk alone.
func (c *Cluster) Announce(ctx context.Context, e Endpoint) error {
	return c.tellEndpoints(ctx, e.Network, []Endpoint{e}, nil)
}

// Withdraw says that this host does not have an endpoint any more. One that it does
// not have is fine.
func (c *Cluster) Withdraw(ctx context.Context, network NetworkID, id EndpointID) error {
	return c.tellEndpoints(ctx, network, nil, []EndpointID{id})
}

// Sync says which endpoints this host has, and that it has no others. Those of
// networks that it does not take part in are an error, and the others are said.
func (c *Cluster) Sync(ctx context.Context, all []Endpoint) error {
	want := make(map[NetworkID]map[EndpointID]Endpoint)
	for _, e := range all {
		if want[e.Network] == nil {
			want[e.Network] = make(map[EndpointID]Endpoint)
		}
		want[e.Network][e.ID] = e
	}
	c.mu.Lock()
	gone := make(map[NetworkID][]EndpointID)
	for network, p := range c.state.parts {
		for id := range p.endpoints[c.self] {
			if _, ok := want[network][id]; !ok {
				gone[network] = append(gone[network], id)
			}
		}
	}
	c.mu.Unlock()
	var errs []error
	for network, ids := range gone {
		errs = append(errs, c.tellEndpoints(ctx, network, nil, ids))
	}
	for network, endpoints := range want {
		errs = append(errs, c.tellEndpoints(ctx, network, slices.Collect(maps.Values(endpoints)), nil))
	}
	return errors.Join(errs...)
}

// tellEndpoints says which endpoints of a network there are and which are gone; of
// what others know already it says nothing.
func (c *Cluster) tellEndpoints(ctx context.Context, network NetworkID, there []Endpoint, gone []EndpointID) error {
	done, err := c.turns.Take(ctx, turnOwn)
	if err != nil {
		return err
	}
	defer done()
	c.mu.Lock()
	p := c.state.parts[network]
	c.mu.Unlock()
	if p == nil {
		if len(there) == 0 {
			return nil
		}
		return fmt.Errorf("announce an endpoint of network %s: %w", short(network), ErrNotMember)
	}
	// Of this host the state changes only in this turn, so it may be looked at.
	have := p.endpoints[c.self]
	var news []Endpoint
	for _, e := range there {
		e.Host = c.self
		if err := checkOwn(e); err != nil {
			return err
		}
		if old, ok := have[e.ID]; !ok || !old.equal(e) {
			news = append(news, e)
		}
	}
	gone = slices.DeleteFunc(slices.Clone(gone), func(id EndpointID) bool { _, ok := have[id]; return !ok })
	return c.sayMany(ctx, network, news, gone)
}

// sayMany says any number of endpoints. The caller has the turn turnOwn.
func (c *Cluster) sayMany(ctx context.Context, network NetworkID, there []Endpoint, gone []EndpointID) error {
	for batch := range slices.Chunk(there, sayAtOnce) {
		if err := c.sayEndpoints(ctx, network, batch, nil); err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(gone, sayAtOnce) {
		if err := c.sayEndpoints(ctx, network, nil, batch); err != nil {
			return err
		}
	}
	return nil
}

func checkOwn(e Endpoint) error {
	if !validHex(string(e.ID), idDigits) {
		return fmt.Errorf("endpoint id %q is not %d hexadecimal digits", e.ID, idDigits)
	}
	return e.check()
}

// sayEndpoints says a few endpoints at once.
func (c *Cluster) sayEndpoints(ctx context.Context, network NetworkID, there []Endpoint, gone []EndpointID) error {
	ops := make([]store.Op, 0, len(there)+len(gone))
	changes := make([]string, 0, len(there)+len(gone))
	for _, e := range there {
		value, err := encode(e)
		if err != nil {
			return err
		}
		ops = append(ops, store.Set(store.EndpointKey(string(network), string(c.self), string(e.ID)), value))
		changes = append(changes, endpointChange(network, e.ID))
	}
	for _, id := range gone {
		ops = append(ops, store.Delete(store.EndpointKey(string(network), string(c.self), string(id))))
		changes = append(changes, endpointChange(network, id))
	}
	if err := c.say(ctx, ops, changes...); err != nil {
		return fmt.Errorf("say endpoints of network %s: %w", short(network), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.state.parts[network]
	for _, e := range there {
		p = p.withEndpoint(e, true)
	}
	for _, id := range gone {
		p = p.withEndpoint(Endpoint{Host: c.self, ID: id}, false)
	}
	c.state.parts[network] = p
	var what touched
	what.network(network)
	c.publishLocked(what)
	return nil
}
