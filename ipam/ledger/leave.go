package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ournet/ournet/internal/store"
)

// Give gives addresses of one shard up, to another host if one is named; also is done
// with it. The caller has them no more, durably, whatever the ledger says. It returns
// how many went.
func (l *Ledger) Give(ctx context.Context, subnet netip.Prefix, base netip.Addr, b Bits, to string, also ...store.Op) (int, error) {
	n := 0
	err := l.amend(ctx, subnet, false, func(p *page) (change, error) {
		s := p.shards[base]
		going := s.hosts[l.host].And(b)
		n = going.Len()
		if n == 0 {
			return change{}, nil
		}
		hosts := s.with(l.host, s.hosts[l.host].Without(b))
		if to != "" && p.has(to) {
			hosts = sheet{hosts: hosts}.with(to, hosts[to].Or(going))
		}
		return change{shards: map[netip.Addr]map[string]Bits{base: hosts}, also: also}, nil
	})
	return n, err
}

// Uses reports whether a host has addresses of a pool. It may have some without taking
// part; see [Ledger.Vouch].
func (l *Ledger) Uses(ctx context.Context, subnet netip.Prefix, host string) (bool, error) {
	p, err := l.read(ctx, subnet)
	if errors.Is(err, ErrNoPool) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, s := range p.shards {
		if _, has := s.hosts[host]; has {
			return true, nil
		}
	}
	return false, nil
}

// Vacate frees all that a host has of a pool and takes the host out of it; with the
// last host goes the pool. It can be done again at any point, by anybody. If the host
// joins again meanwhile, that is an error.
//
// Nothing is taken from the host when the conditions while, which are checks, do not
// hold: that is [ErrNotSo].
func (l *Ledger) Vacate(ctx context.Context, subnet netip.Prefix, host string, while ...store.Op) error {
	v := vacating{Ledger: l, subnet: subnet, host: host, while: while}
	if err := v.begin(ctx); err != nil {
		if errors.Is(err, ErrNoPool) {
			return l.settleAbsence(ctx, subnet)
		}
		return err
	}
	for {
		more, err := v.strip(ctx)
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	empty, err := v.end(ctx)
	if err == nil && empty {
		err = l.remove(ctx, subnet)
	}
	return err
}

// vacating is the way of one host out of a pool.
type vacating struct {
	*Ledger

	subnet netip.Prefix
	host   string
	while  []store.Op
}

// amend does the change that plan makes, while the conditions hold.
func (v *vacating) amend(ctx context.Context, fresh bool, plan func(*page) (change, error)) error {
	return v.Ledger.amend(ctx, v.subnet, fresh, func(p *page) (change, error) {
		if err := v.still(ctx, v.while); err != nil {
			return change{}, err
		}
		c, err := plan(p)
		c.also = v.while
		return c, err
	})
}

// still returns [ErrNotSo] unless the checks hold: a write that fails does not say why.
func (l *Ledger) still(ctx context.Context, checks []store.Op) error {
	for _, op := range checks {
		pair, err := l.kv.Get(ctx, op.Key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if pair.Index != op.Index {
			return fmt.Errorf("%w: %s changed", ErrNotSo, op.Key)
		}
	}
	return nil
}

// begin sees to it that the host can take nothing more.
func (v *vacating) begin(ctx context.Context) error {
	return v.amend(ctx, true, func(p *page) (change, error) {
		if !p.has(v.host) {
			return change{}, nil
		}
		return change{pool: p.with(v.host, &Member{Leaving: true})}, nil
	})
}

// strip frees what the host has of as many shards as one transaction takes.
func (v *vacating) strip(ctx context.Context) (more bool, err error) {
	err = v.amend(ctx, false, func(p *page) (change, error) {
		if p.has(v.host) {
			return change{}, fmt.Errorf("host %s has pool %s again", v.host, v.subnet)
		}
		more = false
		c := change{shards: make(map[netip.Addr]map[string]Bits)}
		for base, s := range p.shards {
			if _, has := s.hosts[v.host]; !has {
				continue
			}
			if len(c.shards) == maxOps-1-max(1, len(v.while)) {
				more = true
				break
			}
			c.shards[base] = s.with(v.host, Bits{})
		}
		return c, nil
	})
	return more, err
}

// end takes the host out of the record, and reports whether it was the last.
func (v *vacating) end(ctx context.Context) (empty bool, err error) {
	err = v.amend(ctx, true, func(p *page) (change, error) {
		empty = len(p.Hosts) == 0
		if m, in := p.Hosts[v.host]; !in || !m.Leaving {
			return change{}, nil
		}
		next := p.with(v.host, nil)
		empty = len(next.Hosts) == 0
		return change{pool: next}, nil
	})
	return empty, err
}

// remove removes a pool that no host has, with its shards. If a host has it again, or
// it is gone, that is fine.
func (l *Ledger) remove(ctx context.Context, subnet netip.Prefix) error {
	l.recall(subnet)
	p, err := l.read(ctx, subnet)
	if errors.Is(err, ErrNoPool) || err == nil && len(p.Hosts) > 0 {
		return nil
	}
	if err != nil {
		return err
	}
	key := store.ClusterPoolKey(subnet.String())
	var shards []store.Op
	for base, s := range p.shards {
		shards = append(shards, store.DeleteCAS(store.ShardKey(subnet.String(), base.String()), s.index))
	}
	for ops := range slices.Chunk(shards, maxOps-1) {
		if _, err := l.kv.Apply(ctx, append(ops, store.Check(key, p.index))...); err != nil {
			return unlessConflict(err)
		}
	}
	_, err = l.kv.Apply(ctx, store.DeleteCAS(key, p.index))
	return unlessConflict(err)
}

// unlessConflict takes it for done if somebody else did something: that is either the
// same, or it brought the pool back to life.
func unlessConflict(err error) error {
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}

// settleAbsence makes sure that a pool that is not there is not made late, by a
// write of ours that is still under way.
func (l *Ledger) settleAbsence(ctx context.Context, subnet netip.Prefix) error {
	fence, err := l.kv.Get(ctx, store.PoolFenceKey())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	value, err := l.fence()
	if err != nil {
		return err
	}
	_, err = l.kv.Apply(ctx, store.CAS(store.PoolFenceKey(), value, fence.Index),
		store.Check(store.ClusterPoolKey(subnet.String()), 0))
	return err
}
