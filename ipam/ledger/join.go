package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ournet/ournet/internal/backoff"
	"github.com/ournet/ournet/internal/store"
)

// Join makes this host take part in a pool and returns its record. If the cluster has
// no pool of that subnet it is made, unless it overlaps another. The function choose
// gets the subnets of all pools and says which pool is wanted; it is called again when
// another host was faster. With only new, it must be one that is not there.
func (l *Ledger) Join(ctx context.Context, onlyNew bool, choose func(taken []netip.Prefix) (Pool, error)) (Pool, error) {
	for tries := 0; ; tries++ {
		p, err := l.join(ctx, onlyNew, choose)
		if !errors.Is(err, store.ErrConflict) {
			return p, err
		}
		if !(backoff.Backoff{First: 5 * time.Millisecond, Most: 100 * time.Millisecond}).Wait(ctx, tries) {
			return Pool{}, ctx.Err()
		}
	}
}

// join fails with [store.ErrConflict] if somebody else was faster.
func (l *Ledger) join(ctx context.Context, onlyNew bool, choose func(taken []netip.Prefix) (Pool, error)) (Pool, error) {
	// Before the list, so that it has all pools that were made up to that fence.
	fence, err := l.kv.Get(ctx, store.PoolFenceKey())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Pool{}, err
	}
	have, err := l.Pools(ctx)
	if err != nil {
		return Pool{}, err
	}
	taken := make([]netip.Prefix, 0, len(have))
	for _, p := range have {
		taken = append(taken, p.Subnet)
	}
	want, err := choose(taken)
	if err != nil {
		return Pool{}, err
	}
	for _, p := range have {
		switch {
		case !p.Subnet.Overlaps(want.Subnet):
			continue
		case p.Err != nil:
			return Pool{}, fmt.Errorf("subnet %s %w the pool %s of the cluster: %w", want.Subnet, ErrOverlap, p.Subnet, p.Err)
		case len(p.Hosts) == 0: // nobody has it any more
			if err := l.remove(ctx, p.Subnet); err != nil {
				return Pool{}, err
			}
			return Pool{}, store.ErrConflict
		case p.Subnet != want.Subnet:
			return Pool{}, overlapError(want.Subnet, have)
		case onlyNew:
			return Pool{}, store.ErrConflict
		}
		return l.joinOne(ctx, p, want)
	}
	return l.create(ctx, want, fence.Index)
}

// joinOne makes this host take part in a pool that is there.
func (l *Ledger) joinOne(ctx context.Context, have Entry, want Pool) (Pool, error) {
	if have.Range != want.Range {
		advice := "leave --ip-range out"
		if have.Range.IsValid() {
			advice = "write --ip-range " + have.Range.String()
		}
		return Pool{}, fmt.Errorf("address range %s of subnet %s %w, which is on %s: %s, or choose another --subnet",
			orNone(want.Range), want.Subnet, ErrContradiction, have.hostNames(), advice)
	}
	if have.has(l.host) {
		return have.Pool, nil
	}
	joined := have.with(l.host, &Member{})
	value, err := encode(joined)
	if err != nil {
		return Pool{}, err
	}
	_, err = l.kv.Apply(ctx, store.CAS(store.ClusterPoolKey(have.Subnet.String()), value, have.index))
	return *joined, err
}

func (l *Ledger) create(ctx context.Context, want Pool, fence store.Index) (Pool, error) {
	want.Version = recordVersion
	want.Created = l.now().UTC().Round(0)
	want.Hosts = map[string]Member{l.host: {}}
	value, err := encode(want)
	if err != nil {
		return Pool{}, err
	}
	raised, err := l.fence()
	if err != nil {
		return Pool{}, err
	}
	_, err = l.kv.Apply(ctx, store.CAS(store.PoolFenceKey(), raised, fence),
		store.CAS(store.ClusterPoolKey(want.Subnet.String()), value, 0))
	return want, err
}

// fence returns a value of the fence. What counts is that it is written.
func (l *Ledger) fence() ([]byte, error) {
	return encode(struct {
		Version int    `json:"v"`
		Host    string `json:"host"`
	}{recordVersion, l.host})
}

func orNone(p netip.Prefix) string {
	if !p.IsValid() {
		return "none"
	}
	return p.String()
}

// Entry is a pool in a list of all.
type Entry struct {
	Pool

	// Err says why the rest of the record, beside the subnet, cannot be read.
	Err   error
	index store.Index
}

// Pools returns all pools that the cluster has.
func (l *Ledger) Pools(ctx context.Context) ([]Entry, error) {
	prefix := store.ClusterPoolsPrefix()
	pairs, _, err := l.kv.List(ctx, prefix, 0)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(pairs))
	for _, pair := range pairs {
		subnet, err := netip.ParsePrefix(strings.ReplaceAll(strings.TrimPrefix(pair.Key, prefix), "_", "/"))
		if err != nil {
			return nil, fmt.Errorf("pool %s: %w", pair.Key, err)
		}
		e := Entry{index: pair.Index}
		if e.Pool, e.Err = decodePool(subnet, pair.Value); e.Err != nil {
			e.Pool = Pool{Subnet: subnet}
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Share makes an address belong to the network, on all hosts: as its gateway, or as
// an auxiliary address. With no valid address the gateway is the one that the pool
// has, or the first of candidates that no host has. The caller has given up the
// address itself, durably, if it had it.
func (l *Ledger) Share(ctx context.Context, subnet netip.Prefix, addr netip.Addr, gateway bool, candidates func(yield func(netip.Addr) bool)) (Pool, error) {
	var shared Pool
	err := l.amend(ctx, subnet, false, func(p *page) (change, error) {
		shared = p.Pool
		a := addr
		switch {
		case gateway && p.Gateway.IsValid() && (a == p.Gateway || !a.IsValid()):
			return change{}, nil
		case gateway && p.Gateway.IsValid():
			return change{}, fmt.Errorf("gateway %s of subnet %s %w, which is on %s and has %s: write --gateway %s",
				a, subnet, ErrContradiction, p.hostNames(), p.Gateway, p.Gateway)
		case !a.IsValid():
			if a = p.firstFree(candidates); !a.IsValid() {
				return change{}, fmt.Errorf("%w of %s", ErrFull, subnet)
			}
		case p.role(a) != "":
			if gateway || a == p.Gateway {
				return change{}, fmt.Errorf("address %s is %w as %s of the network", a, ErrTaken, p.role(a))
			}
			return change{}, nil
		}
		return p.share(l.host, a, gateway, &shared)
	})
	return shared, err
}

func (p *page) share(host string, a netip.Addr, gateway bool, shared *Pool) (change, error) {
	if !p.has(host) {
		return change{}, fmt.Errorf("%w %s", ErrNotMember, p.Subnet)
	}
	s := p.shards[Base(a)]
	c := change{shards: map[netip.Addr]map[string]Bits{Base(a): s.hosts}}
	switch holder := s.holder(a); holder {
	case "": // written all the same, so that nobody takes it meanwhile
	case host:
		c.shards[Base(a)] = s.with(host, s.hosts[host].Without(Only(a)))
	default:
		return change{}, &HeldError{Addr: a, Host: holder}
	}
	next := p.with(host, &Member{})
	if gateway {
		next.Gateway = a
	} else {
		next.Aux = append(append([]netip.Addr(nil), next.Aux...), a)
	}
	c.pool, *shared = next, *next
	return c, nil
}

func (p *page) firstFree(candidates func(yield func(netip.Addr) bool)) netip.Addr {
	for a := range candidates {
		if p.shards[Base(a)].holder(a) == "" && p.role(a) == "" {
			return a
		}
	}
	return netip.Addr{}
}

// HeldError says which host has an address.
type HeldError struct {
	Addr netip.Addr
	Host string
}

// Error implements error.
func (e *HeldError) Error() string { return fmt.Sprintf("host %s has address %s", e.Host, e.Addr) }

// Is makes a HeldError an [ErrTaken].
func (e *HeldError) Is(target error) bool { return target == ErrTaken }
