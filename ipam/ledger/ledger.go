// Package ledger is the cluster's account of pools that hosts share: which host takes
// part in a pool, and which host has which of its addresses.
//
// It owns the records in the cluster store, and every change of them is a
// compare-and-swap. It knows nothing of what a host does with its addresses, nor of
// containers and networks. Whoever uses it makes one change of a pool at a time.
//
// A pool's addresses are cut in shards of 256, one key each, so that two hosts meet
// only where they take of the same shard. Every change of a shard has the pool's
// record as a condition: a pool that was removed, made anew or left meanwhile is
// noticed, and nothing is written into it.
//
// What keeps an address from being given twice when an answer is lost: a host gives
// up an address for itself, durably, before it does so here; and it takes an address
// for its own only after a write of its own that it knows was done. So a write that
// comes late can only give a host what it does not know to be its own, and the next
// change of that shard finds it.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/ournet/ournet/internal/backoff"
	"github.com/ournet/ournet/internal/store"
)

// Sentinel errors; test them with [errors.Is].
var (
	// ErrNoPool says that the cluster has no such pool.
	ErrNoPool = errors.New("the cluster has no such address pool")
	// ErrNotMember says that this host does not take part in the pool, or no longer.
	ErrNotMember = errors.New("this host does not take part in the address pool")
	// ErrOverlap says that a subnet overlaps one that the cluster has.
	ErrOverlap = errors.New("overlaps")
	// ErrContradiction says that a pool is there with other settings.
	ErrContradiction = errors.New("contradicts the network on other hosts")
	// ErrTaken says that an address is not to be had.
	ErrTaken = errors.New("in use")
	// ErrFull says that no host can get another address of the pool.
	ErrFull = errors.New("all addresses are with hosts")
	// ErrLost says that the ledger does not have what this host has of the pool: it
	// has lost its past, and what is free in it may be another's.
	ErrLost = errors.New("the cluster does not have this host's addresses")
	// ErrNotSo says that what a change was to be done under does not hold any more.
	ErrNotSo = errors.New("it is not so any more")
)

// maxOps bounds the keys in one transaction: every store takes that many.
const maxOps = 30

// Ledger is the account, as one host sees it.
type Ledger struct {
	kv   store.KV
	host string
	now  func() time.Time

	mu sync.Mutex // guards pages
	// pages are the pools as they were last seen. They spare reading; a page that
	// is out of date is found by the conditions of the next write.
	pages map[netip.Prefix]*page
}

// New returns the ledger in kv, for a host. It asks nothing yet.
func New(kv store.KV, host string, now func() time.Time) *Ledger {
	return &Ledger{kv: kv, host: host, now: now, pages: make(map[netip.Prefix]*page)}
}

// Host returns the host that the ledger is seen by.
func (l *Ledger) Host() string { return l.host }

// page is a pool with its shards as they were read, and are after what was written.
type page struct {
	Pool

	index  store.Index
	shards map[netip.Addr]sheet
}

// read reads a pool. The record comes first: what its index then still holds for, the
// shards are at least as new as.
func (l *Ledger) read(ctx context.Context, subnet netip.Prefix) (*page, error) {
	pair, err := l.kv.Get(ctx, store.ClusterPoolKey(subnet.String()))
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%w: %s", ErrNoPool, subnet)
	}
	if err != nil {
		return nil, err
	}
	pool, err := decodePool(subnet, pair.Value)
	if err != nil {
		return nil, err
	}
	prefix := store.ShardsPrefix(subnet.String())
	pairs, _, err := l.kv.List(ctx, prefix, 0)
	if err != nil {
		return nil, err
	}
	p := &page{Pool: pool, index: pair.Index, shards: make(map[netip.Addr]sheet, len(pairs))}
	for _, pair := range pairs {
		base, err := netip.ParseAddr(strings.TrimPrefix(pair.Key, prefix))
		if err != nil {
			return nil, fmt.Errorf("shard %s: %w", pair.Key, err)
		}
		hosts, err := decodeShard(pair.Key, pair.Value)
		if err != nil {
			return nil, err
		}
		p.shards[base] = sheet{hosts: hosts, index: pair.Index}
	}
	return p, nil
}

// change is a change of a page: what is to be written, if it is still as it was read.
// An empty one is none.
type change struct {
	pool   *Pool
	shards map[netip.Addr]map[string]Bits
	also   []store.Op
}

func (c change) empty() bool { return c.pool == nil && len(c.shards) == 0 }

// ops returns the transaction that does c, with all that it stands on as a condition.
func (c change) ops(p *page) ([]store.Op, error) {
	key := store.ClusterPoolKey(p.Subnet.String())
	ops := []store.Op{store.Check(key, p.index)}
	if c.pool != nil {
		value, err := encode(c.pool)
		if err != nil {
			return nil, err
		}
		ops[0] = store.CAS(key, value, p.index)
	}
	for base, hosts := range c.shards {
		at := p.shards[base].index
		key := store.ShardKey(p.Subnet.String(), base.String())
		if len(hosts) == 0 {
			ops = append(ops, store.DeleteCAS(key, at))
			continue
		}
		value, err := encode(shardRecord{Version: recordVersion, Hosts: hosts})
		if err != nil {
			return nil, err
		}
		ops = append(ops, store.CAS(key, value, at))
	}
	return append(ops, c.also...), nil
}

// done brings the page to what c has made of it.
func (c change) done(p *page, at store.Index) {
	if c.pool != nil {
		p.Pool, p.index = *c.pool, at
	}
	for base, hosts := range c.shards {
		if len(hosts) == 0 {
			delete(p.shards, base)
			continue
		}
		p.shards[base] = sheet{hosts: hosts, index: at}
	}
}

// amend does the change that plan makes of a pool, again if somebody else was faster.
// It begins with what was last seen of the pool, unless that must not be old.
func (l *Ledger) amend(ctx context.Context, subnet netip.Prefix, fresh bool, plan func(*page) (change, error)) error {
	p := l.recall(subnet)
	for tries := 0; ; tries++ {
		old := p != nil && !fresh
		if !old {
			var err error
			if p, err = l.read(ctx, subnet); err != nil {
				return err
			}
		}
		c, err := plan(p)
		if err == nil && old && c.empty() {
			fresh = true // no condition of a write has said that the page still holds
			continue
		}
		if err == nil {
			err = l.write(ctx, p, c)
		}
		if err == nil {
			l.keep(subnet, p)
			return nil
		}
		// A refusal that rests on what may be out of date is none.
		if !errors.Is(err, store.ErrConflict) && (!old || !IsRefusal(err)) {
			return err
		}
		fresh = true
		if tries > 0 && !(backoff.Backoff{First: 5 * time.Millisecond, Most: 100 * time.Millisecond}).Wait(ctx, tries-1) {
			return fmt.Errorf("change pool %s: %w", subnet, ctx.Err())
		}
	}
}

// IsRefusal reports whether err says that the ledger does not allow something, and not
// that the store could not be asked.
func IsRefusal(err error) bool {
	for _, refusal := range []error{ErrNoPool, ErrNotMember, ErrOverlap, ErrContradiction, ErrTaken, ErrFull, ErrLost} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// mayTake reports whether the host may take more, by what it has already.
func (p *page) mayTake(host string, have Holdings) error {
	if !p.has(host) {
		return fmt.Errorf("%w %s", ErrNotMember, p.Subnet)
	}
	for base, b := range have {
		if b.Without(p.shards[base].hosts[host]) != (Bits{}) {
			return fmt.Errorf("%w of %s", ErrLost, p.Subnet)
		}
	}
	return nil
}

func (l *Ledger) write(ctx context.Context, p *page, c change) error {
	if c.empty() {
		return nil
	}
	ops, err := c.ops(p)
	if err != nil {
		return err
	}
	at, err := l.kv.Apply(ctx, ops...)
	if err == nil {
		c.done(p, at)
	}
	return err
}

// recall takes the page of a pool; keep puts it back when all of it holds.
func (l *Ledger) recall(subnet netip.Prefix) *page {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pages[subnet]
	delete(l.pages, subnet)
	return p
}

func (l *Ledger) keep(subnet netip.Prefix, p *page) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pages[subnet] = p
}

// with returns the record with a host in another state; nil takes it out.
func (p Pool) with(host string, m *Member) *Pool {
	p.Hosts = maps.Clone(p.Hosts)
	if p.Hosts == nil {
		p.Hosts = make(map[string]Member)
	}
	if m == nil {
		delete(p.Hosts, host)
	} else {
		p.Hosts[host] = *m
	}
	return &p
}
