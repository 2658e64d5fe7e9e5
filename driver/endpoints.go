package driver

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/ournet/ournet/internal/store"
)

// CreateEndpoint records an endpoint and returns it with its MAC address filled
// in. The same endpoint again is success and gives the same answer; the same id
// with other settings is [ErrExists]. The kernel is not touched before
// [Registry.Join].
func (r *Registry) CreateEndpoint(ctx context.Context, ep Endpoint) (Endpoint, error) {
	if ep.MAC.IsZero() && len(ep.Addrs()) > 0 {
		ep.MAC = MACFromAddr(ep.Addrs()[0])
	}
	done, err := r.takeEndpoint(ctx, ep.Network, ep.ID)
	if err != nil {
		return Endpoint{}, err
	}
	defer done()
	if _, ok := r.Network(ep.Network); !ok {
		return Endpoint{}, fmt.Errorf("create endpoint: network %s: %w", ep.Network.Short(), ErrNotFound)
	}
	if have, ok := r.Endpoint(ep.Network, ep.ID); ok {
		if sameEndpoint(have, ep) {
			return have, nil
		}
		return Endpoint{}, fmt.Errorf("create endpoint: id %s %w", ep.ID.Short(), ErrExists)
	}
	if err := r.writeEndpoint(ctx, ep); err != nil {
		return Endpoint{}, fmt.Errorf("create endpoint: %w", err)
	}
	return ep, nil
}

// Join makes the endpoint's interface, ready for the engine to move into the
// sandbox at key.
func (r *Registry) Join(ctx context.Context, network NetworkID, id EndpointID, key string) (Attachment, error) {
	d, n, ep, done, err := r.endpointTurn(ctx, network, id)
	if err != nil {
		return Attachment{}, fmt.Errorf("join: %w", err)
	}
	defer done()
	if ep.SandboxKey != "" && ep.SandboxKey != key {
		// The engine lost the former sandbox without telling us.
		if err := r.clearEndpoint(ctx, d, n, ep); err != nil {
			return Attachment{}, fmt.Errorf("join: leave the former sandbox: %w", err)
		}
		ep.SandboxKey, ep.Published = "", nil
	}
	joined := ep
	joined.SandboxKey = key
	if ep.SandboxKey != key {
		// The record first: were the process to die in between, nobody would know
		// that there is an interface to be removed.
		if err := r.writeEndpoint(ctx, joined); err != nil {
			return Attachment{}, fmt.Errorf("join: %w", err)
		}
	}
	att, err := d.Join(ctx, n, joined)
	if err == nil {
		return att, nil
	}
	err = fmt.Errorf("join: %w", err)
	if ep.SandboxKey == key {
		return Attachment{}, err // a container may be using what the first time made
	}
	uctx, cancel := undoContext(ctx)
	defer cancel()
	return Attachment{}, errors.Join(err, d.Leave(uctx, n, joined), r.writeEndpoint(uctx, ep))
}

// Leave takes the endpoint out of its sandbox: its published ports and its
// interface go. An unknown id is success.
func (r *Registry) Leave(ctx context.Context, network NetworkID, id EndpointID) error {
	d, n, ep, done, err := r.endpointTurn(ctx, network, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	defer done()
	if err := r.clearEndpoint(ctx, d, n, ep); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	if ep.SandboxKey == "" && len(ep.Published) == 0 {
		return nil
	}
	ep.SandboxKey, ep.Published = "", nil
	if err := r.writeEndpoint(ctx, ep); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	return nil
}

// DeleteEndpoint removes an endpoint, whether or not it left before: the engine
// leaves out Leave when it forces. An unknown id is success.
func (r *Registry) DeleteEndpoint(ctx context.Context, network NetworkID, id EndpointID) error {
	d, n, ep, done, err := r.endpointTurn(ctx, network, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete endpoint: %w", err)
	}
	defer done()
	if err := r.clearEndpoint(ctx, d, n, ep); err != nil {
		// The engine forgets the endpoint whatever we answer.
		r.log.WithError(err).WithField("endpoint", id.Short()).Warn("interface or ports left to the next sweep")
	}
	if _, err := r.kv.Apply(ctx, store.Delete(store.LocalEndpointKey(string(network), string(id)))); err != nil {
		return fmt.Errorf("delete endpoint %s: remove record: %w", id.Short(), err)
	}
	r.mu.Lock()
	if entry, ok := r.networks[network]; ok {
		delete(entry.endpoints, id)
	}
	r.mu.Unlock()
	return nil
}

// clearEndpoint removes from the kernel all that an endpoint has there.
func (r *Registry) clearEndpoint(ctx context.Context, d Driver, n Network, ep Endpoint) error {
	var perr error
	if p, ok := d.(Publisher); ok && len(ep.Published) > 0 {
		perr = p.Unpublish(ctx, n, ep)
	}
	if ep.SandboxKey == "" {
		return perr
	}
	if len(r.siblings(ep)) == 0 {
		r.ports.endSandbox(ep.SandboxKey)
	}
	return errors.Join(perr, d.Leave(ctx, n, ep))
}

// writeEndpoint makes an endpoint's record durable, with what else shall be at the
// same time, then visible.
func (r *Registry) writeEndpoint(ctx context.Context, ep Endpoint, with ...store.Op) error {
	value, err := encodeEndpoint(ep)
	if err != nil {
		return err
	}
	key := store.LocalEndpointKey(string(ep.Network), string(ep.ID))
	if _, err := r.kv.Apply(ctx, append(with, store.Set(key, value))...); err != nil {
		return fmt.Errorf("write record of endpoint %s: %w", ep.ID.Short(), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if entry, ok := r.networks[ep.Network]; ok {
		entry.endpoints[ep.ID] = ep
	}
	return nil
}

// endpointTurn waits for the only turn at an endpoint and returns its record.
func (r *Registry) endpointTurn(ctx context.Context, network NetworkID, id EndpointID) (Driver, Network, Endpoint, func(), error) {
	done, err := r.takeEndpoint(ctx, network, id)
	if err != nil {
		return nil, Network{}, Endpoint{}, nil, err
	}
	n, ok := r.Network(network)
	if !ok {
		done()
		return nil, Network{}, Endpoint{}, nil, fmt.Errorf("network %s: %w", network.Short(), ErrNotFound)
	}
	ep, ok := r.Endpoint(network, id)
	if !ok {
		done()
		return nil, Network{}, Endpoint{}, nil, fmt.Errorf("endpoint %s: %w", id.Short(), ErrNotFound)
	}
	return r.drivers[n.Options.Type], n, ep, done, nil
}

// takeEndpoint waits for the only turn at an endpoint, and for a shared one at
// its network. The order, everything then network then endpoint, is the same in
// every verb.
func (r *Registry) takeEndpoint(ctx context.Context, network NetworkID, id EndpointID) (func(), error) {
	all, err := r.turns.Share(ctx, everything)
	if err != nil {
		return nil, err
	}
	net, err := r.turns.Share(ctx, "network "+string(network))
	if err != nil {
		all()
		return nil, err
	}
	one, err := r.turns.Take(ctx, "endpoint "+string(id))
	if err != nil {
		net()
		all()
		return nil, err
	}
	return func() { one(); net(); all() }, nil
}

// sameEndpoint compares what the engine asked for, not what became of it since.
func sameEndpoint(a, b Endpoint) bool {
	a.Created, b.Created = time.Time{}, time.Time{}
	a.SandboxKey, b.SandboxKey = "", ""
	a.Published, b.Published = nil, nil
	a.Bindings, b.Bindings = nil, nil // Publish may have replaced them
	return reflect.DeepEqual(a, b)
}
