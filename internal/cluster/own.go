package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ournet/ournet/internal/store"
)

// sayAtOnce is how many keys are said at once: each is two in this host's store, and
// they come with the key of changes.
const sayAtOnce = atOnce/2 - 2

// say notes keys of this host that are to be said, and the changes that others are to
// hear of. The caller has the turn turnOwn. When it returns, the keys are on this
// host's disk.
func (c *Cluster) say(ctx context.Context, ops []store.Op, changes ...string) error {
	c.mu.Lock()
	next := c.ring.add(changes...)
	c.mu.Unlock()
	return c.sayRing(ctx, next, nil, ops)
}

// sayRing is [Cluster.say] with a given list of changes, and does along in this
// host's store with it.
func (c *Cluster) sayRing(ctx context.Context, next ring, along, ops []store.Op) error {
	value, err := encode(next)
	if err != nil {
		return err
	}
	ops = append(slices.Clone(ops), store.Set(store.ChangeKey(string(c.self)), value))
	if err := c.journal.SayAlong(ctx, append(along, alongside(ops)...), ops...); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring = next
	return nil
}

// alongside returns what keeps a copy of what is said.
func alongside(ops []store.Op) []store.Op {
	along := make([]store.Op, 0, len(ops))
	for _, op := range ops {
		op.Key = store.LocalOwnKey(op.Key)
		along = append(along, op)
	}
	return along
}

// begin says what this host is, if that is not what it said last, and takes back what
// the last process began and did not end.
func (c *Cluster) begin(ctx context.Context) error {
	pairs, _, err := c.local.List(ctx, store.LocalJoinPrefix(), 0)
	if err != nil {
		return fmt.Errorf("networks that this host began to join: %w", err)
	}
	for _, p := range pairs {
		id := NetworkID(strings.TrimPrefix(p.Key, store.LocalJoinPrefix()))
		if err := c.abandon(ctx, map[NetworkID]bool{id: true}); err != nil {
			return err
		}
	}
	return c.sayHost(ctx)
}

func (c *Cluster) sayHost(ctx context.Context) error {
	done, err := c.turns.Take(ctx, turnOwn)
	if err != nil {
		return err
	}
	defer done()
	key := store.HostKey(string(c.self))
	pair, err := c.local.Get(ctx, store.LocalOwnKey(key))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("what this host said: %w", err)
	}
	value, err := encode(c.Self())
	if err != nil || string(value) == string(pair.Value) {
		return err
	}
	return c.say(ctx, []store.Op{store.Set(key, value)}, changedHost)
}

// restate says everything of this host again, from its own disk: the cluster store
// lost it, or others took this host for gone. Others hear of it when all is said.
func (c *Cluster) restate(ctx context.Context) error {
	pairs, _, err := c.local.List(ctx, store.LocalOwnPrefix(), 0)
	if err != nil {
		return err
	}
	var ops []store.Op
	for _, p := range pairs {
		key := strings.TrimPrefix(p.Key, store.LocalOwnPrefix())
		if !strings.HasPrefix(key, store.ChangesPrefix()) {
			ops = append(ops, store.Set(key, p.Value))
		}
	}
	for batch := range slices.Chunk(ops, sayAtOnce) {
		if err := c.journal.Say(ctx, batch...); err != nil {
			return err
		}
	}
	host, err := encode(c.Self())
	if err != nil {
		return err
	}
	return c.sayRing(ctx, newEpoch().add(changedHost), nil, []store.Op{store.Set(store.HostKey(string(c.self)), host)})
}
