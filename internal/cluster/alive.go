package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ournet/ournet/internal/backoff"
	"github.com/ournet/ournet/internal/store"
)

// keepAlive holds this host's key of life until ctx ends. The lease is not ended
// then: the containers live on, and a plugin that is started again soon is not to be
// seen as a host that was gone.
func (c *Cluster) keepAlive(ctx context.Context) error {
	// All hosts lose their leases when the store is away for long. They have one TTL
	// to take new ones before they are suspect.
	wait := backoff.Backoff{First: 100 * time.Millisecond, Most: min(c.opts.TTL/4, 2*time.Second)}
	for failures := 0; ; failures++ {
		lease, err := c.hold(ctx)
		if err == nil {
			failures = -1
			err = c.held(ctx, lease)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && failures == 0 {
			c.log.WithField("err", err).Warn("other hosts cannot see that this one is alive; it is tried again")
		}
		if !wait.Wait(ctx, max(failures, 0)) {
			return ctx.Err()
		}
	}
}

// hold takes a lease, makes it hold the key of life, and ends any suspicion.
func (c *Cluster) hold(ctx context.Context) (store.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.TTL)
	defer cancel()
	lease, err := c.shared.Lease(ctx, store.LeaseOptions{Name: "ournet " + c.opts.Host.Name, TTL: c.opts.TTL, OnLoss: store.Remove})
	if err != nil {
		return nil, err
	}
	if err := c.holdKey(ctx, lease); err != nil {
		// One that cannot be ended ends by itself.
		return nil, errors.Join(err, lease.End(ctx))
	}
	return lease, nil
}

func (c *Cluster) holdKey(ctx context.Context, lease store.Lease) error {
	value, err := encode(life{Since: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	key := store.AliveKey(string(c.self))
	_, err = c.shared.Apply(ctx, store.Hold(key, value, lease.ID()))
	if errors.Is(err, store.ErrConflict) {
		// It is that of this host's last process, which has ended.
		pair, gerr := c.shared.Get(ctx, key)
		if gerr != nil && !errors.Is(gerr, store.ErrNotFound) {
			return gerr
		}
		if gerr == nil && pair.Lease != "" {
			if err := c.shared.Revoke(ctx, pair.Lease); err != nil {
				return err
			}
		}
		_, err = c.shared.Apply(ctx, store.Hold(key, value, lease.ID()))
	}
	if err != nil {
		return fmt.Errorf("hold the key of this host: %w", err)
	}
	if c.opts.Held != nil {
		c.opts.Held()
	}
	return c.unsuspect(ctx)
}

// unsuspect ends the suspicion of this host. If its removal had begun, of what it said
// some may be gone, so all is said again.
func (c *Cluster) unsuspect(ctx context.Context) error {
	key := store.SuspectKey(string(c.self))
	pair, err := c.shared.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if s, err := decode[suspicion](pair.Value); err != nil || s.Removing {
		done, err := c.turns.Take(ctx, turnOwn)
		if err != nil {
			return err
		}
		err = c.restate(ctx)
		done()
		if err != nil {
			return err
		}
	}
	_, err = c.shared.Apply(ctx, store.Delete(key))
	return err
}

// held returns when the lease has ended, or the key is not its any more.
func (c *Cluster) held(ctx context.Context, lease store.Lease) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-lease.Done():
			return nil
		case <-c.beat:
		}
		// Others do not see the key.
		pair, err := c.shared.Get(ctx, store.AliveKey(string(c.self)))
		if err == nil && pair.Lease == lease.ID() {
			continue
		}
		if err == nil || errors.Is(err, store.ErrNotFound) {
			return c.drop(ctx, lease)
		}
	}
}

// drop ends a lease that holds nothing.
func (c *Cluster) drop(ctx context.Context, lease store.Lease) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.TTL)
	defer cancel()
	return lease.End(ctx)
}
