package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ournet/ournet/internal/store"
)

// JoinNetwork makes this host take part in the network that spec asks for, and makes
// it if the cluster has none with spec's first subnet. It needs the cluster store, and
// ctx bounds it. A network that is otherwise than asked for is ErrContradiction, one
// whose VNI or subnets are in part another's ErrTaken. A network that is about to be
// removed is made anew.
func (c *Cluster) JoinNetwork(ctx context.Context, spec NetworkSpec) (Network, error) {
	n, err := c.join(ctx, spec)
	if err != nil {
		return Network{}, fmt.Errorf("take part in a network of the cluster: %w", err)
	}
	return n, nil
}

func (c *Cluster) join(ctx context.Context, spec NetworkSpec) (Network, error) {
	if err := spec.check(); err != nil {
		return Network{}, err
	}
	done, err := c.turns.Take(ctx, turnNetworks)
	if err != nil {
		return Network{}, err
	}
	defer done()
	for {
		r, err := c.readRegister(ctx)
		if err != nil {
			return Network{}, err
		}
		n, ops, err := c.admit(ctx, r, spec)
		if err != nil {
			return Network{}, err
		}
		value, err := encode(member{Generation: n.Generation})
		if err != nil {
			return Network{}, err
		}
		key := store.MemberKey(string(n.ID), string(c.self))
		_, err = c.shared.Apply(ctx, append(ops, store.Set(key, value))...)
		switch {
		case err == nil:
			return n, c.joined(ctx, n)
		case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrUncertain) && ctx.Err() == nil:
			continue // another host was quicker, or it may have been done: look again
		}
		return Network{}, err
	}
}

// joined keeps that this host takes part. The journal says it too: what it still has
// to say of an earlier part in the network must not be the last word.
func (c *Cluster) joined(ctx context.Context, n Network) error {
	done, err := c.turns.Take(ctx, turnOwn)
	if err != nil {
		return err
	}
	defer done()
	m := member{Generation: n.Generation}
	value, err := encode(m)
	if err != nil {
		return err
	}
	if err := c.say(ctx, []store.Op{
		store.Set(store.MemberKey(string(n.ID), string(c.self)), value),
		store.Delete(store.RemovalKey(string(n.ID), string(c.self))),
	}, networkChange(n.ID)); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.state.parts[n.ID]
	if p == nil {
		p = newPart()
	}
	c.state.parts[n.ID] = p.withMember(c.self, &m)
	c.state.setRemoval(n.ID, c.self, nil)
	delete(c.state.collected, n.ID)
	c.setNetworkLocked(n)
	var what touched
	what.network(n.ID)
	c.publishLocked(what)
	c.in.poke()
	return nil
}

// setNetworkLocked notes a network's record.
func (c *Cluster) setNetworkLocked(n Network) bool {
	if have, ok := c.state.networks[n.ID]; ok && have.equal(n) {
		return false
	}
	c.state.networks[n.ID] = n
	mirrorLocked(c, store.NetworkKey(string(n.ID)), n)
	return true
}

// admit decides which network spec means, and returns what makes it so in the store,
// if nothing was changed since r was read.
func (c *Cluster) admit(ctx context.Context, r register, spec NetworkSpec) (Network, []store.Op, error) {
	found, ok := r.match(spec)
	if !ok {
		return c.create(r, c.fresh(spec))
	}
	if !c.isGoing(r, found.ID) {
		if err := spec.contradicts(found); err != nil {
			return Network{}, nil, err
		}
		return found, []store.Op{store.Check(store.NetworkKey(string(found.ID)), r.at[found.ID])}, nil
	}
	members, err := c.members(ctx, found.ID)
	if err != nil {
		return Network{}, nil, err
	}
	members = slices.DeleteFunc(members, func(id HostID) bool { return id == c.self })
	if len(members) == 0 {
		// Nobody else has it any more: what it was binds nobody.
		ops, err := r.collect(found)
		if err != nil {
			return Network{}, nil, err
		}
		r.forget(found)
		n, create, err := c.create(r, c.fresh(spec))
		return n, merge(ops, create), err
	}
	if err := spec.contradicts(found); err != nil {
		return Network{}, nil, fmt.Errorf("%w; it was removed, and goes when the last container of it has ended on %d hosts", err, len(members))
	}
	anew := found
	anew.Generation++
	anew.Creator, anew.Created, anew.Complete = c.self, time.Now().UTC().Truncate(time.Millisecond), false
	value, err := encode(anew)
	if err != nil {
		return Network{}, nil, err
	}
	return anew, []store.Op{store.CAS(store.NetworkKey(string(anew.ID)), value, r.at[anew.ID])}, nil
}

// isGoing reports whether a network was removed, by what the store says or this host
// is still to say.
func (c *Cluster) isGoing(r register, id NetworkID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	own, removed := c.state.removals[id][c.self]
	return removed && own.Generation >= r.networks[id].Generation || isRemoved(r.networks[id].Generation, r.removals[id])
}

// fresh returns the network that spec asks for.
func (c *Cluster) fresh(spec NetworkSpec) Network {
	return Network{
		ID: spec.ID, Options: maps.Clone(spec.Options), IPAMOptions: maps.Clone(spec.IPAMOptions), Subnets: slices.Clone(spec.Subnets),
		VNI: spec.VNI, MTU: spec.MTU, Internal: spec.Internal, IPv4: spec.IPv4, IPv6: spec.IPv6,
		Creator: c.self, Created: time.Now().UTC().Truncate(time.Millisecond), Generation: 1,
	}
}

// members returns the hosts that take part in a network, by what the store has now.
func (c *Cluster) members(ctx context.Context, id NetworkID) ([]HostID, error) {
	pairs, _, err := c.shared.List(ctx, store.MembersPrefix(string(id)), 0)
	if err != nil {
		return nil, err
	}
	var all []HostID
	for _, p := range pairs {
		// An endpoint without its host's membership is on its way out or in.
		if _, host, _, ok := store.SplitEndpointKey(p.Key); ok && !slices.Contains(all, HostID(host)) {
			all = append(all, HostID(host))
		}
	}
	return all, nil
}

// Completion is what is known of a network only after its engine made it.
type Completion struct {
	Name       string
	Labels     map[string]string
	Attachable bool
	// Options, IPAMOptions and Subnets replace what JoinNetwork was told, unless nil.
	Options, IPAMOptions map[string]string
	Subnets              []Subnet
}

// CompleteNetwork tells all hosts what the engine of the host that made a network
// knows of it. It needs the cluster store.
func (c *Cluster) CompleteNetwork(ctx context.Context, id NetworkID, what Completion) error {
	for {
		pair, err := c.shared.Get(ctx, store.NetworkKey(string(id)))
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("complete network %s: %w", short(id), ErrUnknownNetwork)
		}
		if err != nil {
			return fmt.Errorf("complete network %s: %w", short(id), err)
		}
		n, err := decode[Network](pair.Value)
		if err != nil {
			return fmt.Errorf("complete network %s: %w", short(id), err)
		}
		next := what.apply(n)
		if next.equal(n) {
			return nil
		}
		if err := next.check(); err != nil {
			return fmt.Errorf("complete network %s: %w", short(id), err)
		}
		value, err := encode(next)
		if err != nil {
			return err
		}
		_, err = c.shared.Apply(ctx, store.CAS(pair.Key, value, pair.Index))
		if err == nil || ctx.Err() != nil || !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrUncertain) {
			if err != nil {
				return fmt.Errorf("complete network %s: %w", short(id), err)
			}
			return nil
		}
	}
}

func (w Completion) apply(n Network) Network {
	n.Name, n.Labels, n.Attachable, n.Complete = w.Name, w.Labels, w.Attachable, true
	if w.Options != nil {
		n.Options = w.Options
	}
	if w.IPAMOptions != nil {
		n.IPAMOptions = w.IPAMOptions
	}
	if w.Subnets != nil {
		n.Subnets = w.Subnets
	}
	return n
}
