package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ournet/ournet/internal/store"
)

// RemoveHost removes all that a host said that is gone for good, and frees what it
// had. One that gives a sign of life is ErrHostAlive. A host that was only cut off
// says everything again when it is back, but may not get its addresses back.
func (c *Cluster) RemoveHost(ctx context.Context, id HostID) error {
	if err := c.removeHost(ctx, id); err != nil {
		return fmt.Errorf("remove host %s: %w", id, err)
	}
	return nil
}

func (c *Cluster) removeHost(ctx context.Context, id HostID) error {
	if id == c.self {
		return fmt.Errorf("%w: it is this one", ErrHostAlive)
	}
	if err := c.beginRemoval(ctx, id); err != nil {
		return err
	}
	if c.opts.FreeHost != nil {
		if err := c.opts.FreeHost(ctx, id); err != nil {
			return fmt.Errorf("free what it has: %w", err)
		}
	}
	pairs, _, err := c.shared.List(ctx, store.EndpointsPrefix(), 0)
	if err != nil {
		return err
	}
	gone := make([]store.Op, 0, len(pairs))
	// Members come before their endpoints in the list; they are to go after them.
	for _, p := range slices.Backward(pairs) {
		if _, host, _, ok := store.SplitEndpointKey(p.Key); ok && host == string(id) {
			gone = append(gone, store.DeleteCAS(p.Key, p.Index))
		}
	}
	stale, err := c.staleRemovals(ctx, id)
	if err != nil {
		return err
	}
	gone = append(gone, stale...)
	for batch := range slices.Chunk(gone, atOnce-1) {
		if err := c.whileGone(ctx, id, batch...); err != nil {
			return err
		}
	}
	// The fence stays: it is what keeps a late write of that host out.
	return c.whileGone(ctx, id, store.Delete(store.HostKey(string(id))), store.Delete(store.ChangeKey(string(id))),
		store.Delete(store.SuspectKey(string(id))))
}

// staleRemovals returns what deletes a host's removals of networks that are gone. One
// that still holds has to outlive the host that said it.
func (c *Cluster) staleRemovals(ctx context.Context, id HostID) ([]store.Op, error) {
	pairs, _, err := c.shared.List(ctx, store.NetworksPrefix(), 0)
	if err != nil {
		return nil, err
	}
	there := make(map[string]bool)
	var stale []store.Op
	for _, p := range pairs {
		// A network comes before its removals.
		network, remover, ok := store.SplitNetworkKey(p.Key)
		switch {
		case ok && remover == "":
			there[network] = true
		case ok && remover == string(id) && !there[network]:
			stale = append(stale, store.DeleteCAS(p.Key, p.Index))
		}
	}
	return stale, nil
}

// whileGone does ops if the host still gives no sign of life.
func (c *Cluster) whileGone(ctx context.Context, id HostID, ops ...store.Op) error {
	alive := store.AliveKey(string(id))
	_, err := c.shared.Apply(ctx, append([]store.Op{store.Check(alive, 0)}, ops...)...)
	if !errors.Is(err, store.ErrConflict) {
		return err
	}
	if _, gerr := c.shared.Get(ctx, alive); gerr == nil {
		return fmt.Errorf("%w: it came back", ErrHostAlive)
	}
	return err
}

// beginRemoval marks the host: should it come back now, it says everything again.
func (c *Cluster) beginRemoval(ctx context.Context, id HostID) error {
	key := store.SuspectKey(string(id))
	for {
		pair, err := c.shared.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		s := suspicion{Since: time.Now().UTC().Truncate(time.Millisecond)}
		if err == nil {
			if s, err = decode[suspicion](pair.Value); err != nil {
				return err
			}
		} else if err := c.known(ctx, id); err != nil {
			return err
		}
		s.Removing = true
		value, err := encode(s)
		if err != nil {
			return err
		}
		_, err = c.shared.Apply(ctx, store.CAS(key, value, pair.Index), store.Check(store.AliveKey(string(id)), 0))
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		if _, err := c.shared.Get(ctx, store.AliveKey(string(id))); err == nil {
			return fmt.Errorf("%w; stop its plugin first, and wait until it is suspect", ErrHostAlive)
		}
	}
}

// known reports ErrUnknownHost unless the store has something of a host.
func (c *Cluster) known(ctx context.Context, id HostID) error {
	for _, key := range []string{store.HostKey(string(id)), store.ChangeKey(string(id)), store.AliveKey(string(id))} {
		if _, err := c.shared.Get(ctx, key); err == nil {
			return nil
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return ErrUnknownHost
}
