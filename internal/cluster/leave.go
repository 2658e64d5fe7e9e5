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

// collected is the record of a network that was removed everywhere: a host that takes
// part in it and was away meanwhile learns from it that the network is gone, and does
// not take the cluster store for wiped.
type collected struct {
	Generation uint64    `json:"generation"`
	At         time.Time `json:"at"`
}

func (r collected) check() error { return nil }

// gone returns the record that a network was removed everywhere; the zero value if
// there is none, or none that this version can read.
func (c *Cluster) gone(ctx context.Context, id NetworkID) (collected, error) {
	pair, err := c.shared.Get(ctx, store.CollectedKey(string(id)))
	if errors.Is(err, store.ErrNotFound) {
		return collected{}, nil
	}
	if err != nil {
		return collected{}, err
	}
	r, err := decode[collected](pair.Value)
	if err != nil {
		c.log.WithField("key", pair.Key).WithField("err", err).Warn("a record of the cluster cannot be read, and is taken for absent")
		return collected{}, nil
	}
	return r, nil
}

// LeaveNetwork says that this host does not take part in a network any more, nor have
// its endpoints. With removed its user removed it, and all hosts shall. It needs this
// host's disk alone; a network that it does not take part in is fine.
func (c *Cluster) LeaveNetwork(ctx context.Context, id NetworkID, removed bool) error {
	if err := c.leave(ctx, id, removed); err != nil {
		return fmt.Errorf("leave network %s of the cluster: %w", short(id), err)
	}
	return nil
}

func (c *Cluster) leave(ctx context.Context, id NetworkID, removed bool) error {
	done, err := c.turns.Take(ctx, turnOwn)
	if err != nil {
		return err
	}
	defer done()
	c.mu.Lock()
	p := c.state.parts[id]
	gone := removal{Generation: c.state.networks[id].Generation, At: time.Now().UTC().Truncate(time.Second)}
	c.mu.Unlock()
	if p == nil {
		return nil
	}
	// The endpoints go first: a crash between leaves a host that takes part and has
	// fewer, not endpoints that are nobody's.
	if err := c.sayMany(ctx, id, nil, slices.Collect(maps.Keys(p.endpoints[c.self]))); err != nil {
		return err
	}
	gone.Generation = max(gone.Generation, p.members[c.self].Generation)
	ops := []store.Op{store.Delete(store.MemberKey(string(id), string(c.self)))}
	if removed {
		value, err := encode(gone)
		if err != nil {
			return err
		}
		ops = append(ops, store.Set(store.RemovalKey(string(id), string(c.self)), value))
	}
	if err := c.say(ctx, ops, networkChange(id)); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leavePartLocked(id)
	if removed {
		c.state.setRemoval(id, c.self, &gone)
	}
	var what touched
	what.network(id)
	c.publishLocked(what)
	c.in.left(id)
	return nil
}

// collect returns what removes a network that no host takes part in, if it is as r
// has it. The removals of others go with it: they said it of this generation. One that
// is not removed is made again by a host that has it after all.
func (r *register) collect(n Network, removed bool) ([]store.Op, error) {
	value, err := encode(collected{Generation: n.Generation, At: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return nil, err
	}
	ops := []store.Op{store.DeleteCAS(store.NetworkKey(string(n.ID)), r.at[n.ID]), store.Delete(vniKey(n.VNI))}
	if removed {
		ops = append(ops, store.Set(store.CollectedKey(string(n.ID)), value))
	}
	for host := range r.removals[n.ID] {
		// What does not fit goes with the hosts that said it.
		if len(ops) < atOnce-6 {
			ops = append(ops, store.Delete(store.RemovalKey(string(n.ID), string(host))))
		}
	}
	return ops, nil
}
