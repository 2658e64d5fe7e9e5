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
	tried := make(map[NetworkID]bool)
	n, err := c.tryJoin(ctx, spec, tried)
	if err == nil {
		if err = c.joined(ctx, n); err == nil {
			delete(tried, n.ID)
		}
	}
	// Also when ctx is over: it is a matter of this host's disk.
	return n, errors.Join(err, c.abandon(context.WithoutCancel(ctx), tried))
}

// tryJoin makes this host a member in the store, and notes all networks of which it
// may have become one.
func (c *Cluster) tryJoin(ctx context.Context, spec NetworkSpec, tried map[NetworkID]bool) (Network, error) {
	for {
		r, err := c.readRegister(ctx)
		if err != nil {
			return Network{}, err
		}
		c.adopt(&r)
		n, ops, err := c.admit(ctx, r, spec)
		if err != nil {
			return Network{}, err
		}
		value, err := encode(member{Generation: n.Generation})
		if err != nil {
			return Network{}, err
		}
		// Should the process end between, the next one takes the membership back.
		if _, err := c.local.Apply(ctx, store.Set(store.LocalJoinKey(string(n.ID)), []byte{})); err != nil {
			return Network{}, err
		}
		tried[n.ID] = true
		_, err = c.shared.Apply(ctx, append(ops, store.Set(store.MemberKey(string(n.ID), string(c.self)), value))...)
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrUncertain) && ctx.Err() == nil:
			continue // another host was quicker, or it may have been done: look again
		}
		return Network{}, err
	}
}

// adopt adds the networks that this host takes part in and the store does not know, as
// it was wiped or others took this host for gone: a new one must not take their place.
func (c *Cluster) adopt(r *register) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.state.parts {
		n, known := c.state.networks[id]
		if _, there := r.networks[id]; known && !there {
			r.networks[id] = n
		}
	}
}

// abandon takes back the memberships of networks that this host did not join in the
// end.
func (c *Cluster) abandon(ctx context.Context, tried map[NetworkID]bool) error {
	if len(tried) == 0 {
		return nil
	}
	done, err := c.turns.Take(ctx, turnOwn)
	if err != nil {
		return err
	}
	defer done()
	var errs []error
	for id := range tried {
		begun := store.Delete(store.LocalJoinKey(string(id)))
		c.mu.Lock()
		joined := c.state.parts[id] != nil
		c.mu.Unlock()
		if joined {
			_, err = c.local.Apply(ctx, begun)
		} else {
			// Others may have seen it.
			c.mu.Lock()
			next := c.ring.add(networkChange(id))
			c.mu.Unlock()
			err = c.sayRing(ctx, next, []store.Op{begun}, []store.Op{store.Delete(store.MemberKey(string(id), string(c.self)))})
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
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
	if err := c.sayJoined(ctx, n, m); err != nil {
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

func (c *Cluster) sayJoined(ctx context.Context, n Network, m member) error {
	value, err := encode(m)
	if err != nil {
		return err
	}
	record, err := encode(n)
	if err != nil {
		return err
	}
	c.mu.Lock()
	next := c.ring.add(networkChange(n.ID))
	c.mu.Unlock()
	return c.sayRing(ctx, next, []store.Op{
		// The record is kept at once: a store that loses it gets it back from here.
		store.Set(store.LocalSeenKey(store.NetworkKey(string(n.ID))), record),
		store.Delete(store.LocalJoinKey(string(n.ID))),
	}, []store.Op{
		store.Set(store.MemberKey(string(n.ID), string(c.self)), value),
		store.Delete(store.RemovalKey(string(n.ID), string(c.self))),
	})
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
	if r.at[found.ID] == 0 {
		return c.remake(ctx, r, found, spec)
	}
	if !c.isGoing(r, found.ID) {
		if err := spec.contradicts(found); err != nil {
			return Network{}, nil, err
		}
		op, err := r.hold(found)
		return found, []store.Op{op}, err
	}
	members, err := c.members(ctx, found.ID)
	if err != nil {
		return Network{}, nil, err
	}
	if c.hasLeft(found.ID) {
		// That it has may still be to be said.
		members = slices.DeleteFunc(members, func(id HostID) bool { return id == c.self })
	}
	if len(members) == 0 {
		// Nobody else has it any more: what it was binds nobody.
		ops, err := r.collect(found, true)
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
	anew := c.anew(found, found.Generation)
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

// anew returns a network as this host makes it again, so that removals up to a
// generation mean nothing.
func (c *Cluster) anew(n Network, removed uint64) Network {
	n.Generation = max(n.Generation, removed) + 1
	n.Creator, n.Created, n.Complete = c.self, time.Now().UTC().Truncate(time.Millisecond), false
	return n
}

// remake makes the record again of a network that this host takes part in and the
// store does not know.
func (c *Cluster) remake(ctx context.Context, r register, n Network, spec NetworkSpec) (Network, []store.Op, error) {
	if err := spec.contradicts(n); err != nil {
		return Network{}, nil, err
	}
	gone, err := c.gone(ctx, n.ID)
	if err != nil {
		return Network{}, nil, err
	}
	c.mu.Lock()
	removed := c.state.removed(n.ID)
	c.mu.Unlock()
	r.forget(n)
	if removed || gone.Generation >= n.Generation {
		n = c.anew(n, gone.Generation)
	}
	return c.create(r, n)
}

// hold returns what lets a host join a network only if it is as r has it. One that is
// not complete may be about to be collected by who saw no member of it: that has to
// fail then.
func (r *register) hold(n Network) (store.Op, error) {
	key := store.NetworkKey(string(n.ID))
	if n.Complete {
		return store.Check(key, r.at[n.ID]), nil
	}
	value, err := encode(n)
	return store.CAS(key, value, r.at[n.ID]), err
}

// hasLeft reports whether this host does not take part in a network.
func (c *Cluster) hasLeft(id NetworkID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.parts[id] == nil
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
