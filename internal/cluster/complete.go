package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/ournet/ournet/internal/store"
)

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
