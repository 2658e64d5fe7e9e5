package ledger

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/ournet/ournet/internal/addrset"
)

// maxBatch is how many addresses a host takes at once, at most.
const maxBatch = 64

// fairHosts is how many hosts a pool is shared among at least: those that will come
// shall find some left.
const fairHosts = 3

// Supply says how a pool stands.
type Supply struct {
	// Free is how many addresses of the dynamic ones no host has.
	Free uint64
	// Hosts is how many hosts have the pool.
	Hosts int
}

// Batch returns how many addresses a host takes at once: a good number where there is
// plenty, and of what is left never more than half of its fair share. It is 0 only
// if nothing is left.
func (s Supply) Batch() int {
	if s.Free == 0 {
		return 0
	}
	half := s.Free / (2 * uint64(max(s.Hosts, fairHosts)))
	return int(min(max(half, 1), maxBatch))
}

// Share returns how many addresses of so many a host may have idle.
func (s Supply) Share(of uint64) uint64 {
	return max(of/uint64(max(s.Hosts, fairHosts)), 1)
}

// Take takes addresses of dynamic for this host, and returns those that it has now
// beside have; among them are such that an earlier attempt got without knowing. Why
// so few is told by the supply, as it was before. Nothing left is [ErrFull], and a ledger
// that has not all of have is [ErrLost].
func (l *Ledger) Take(ctx context.Context, subnet netip.Prefix, dynamic addrset.Range, have Holdings) (Holdings, Supply, error) {
	var (
		got    Holdings
		supply Supply
	)
	err := l.amend(ctx, subnet, false, func(p *page) (change, error) {
		got = make(Holdings)
		if err := p.mayTake(l.host, have); err != nil {
			return change{}, err
		}
		supply = p.supply(dynamic)
		c := change{shards: make(map[netip.Addr]map[string]Bits)}
		for base, s := range p.shards {
			if extra := s.hosts[l.host].Without(have[base]); extra != (Bits{}) && len(c.shards) < maxOps-2 {
				got.Add(base, extra)
				c.shards[base] = s.hosts // so that nothing that is under way undoes it
			}
		}
		base, free := p.pick(l.host, dynamic)
		if free == (Bits{}) {
			if len(got) == 0 {
				return change{}, fmt.Errorf("%w of %s", ErrFull, subnet)
			}
			return c, nil
		}
		more := free.Lowest(supply.Batch())
		got.Add(base, more)
		c.shards[base] = p.shards[base].with(l.host, p.shards[base].hosts[l.host].Or(more))
		return c, nil
	})
	if err != nil {
		return nil, supply, err
	}
	return got, supply, nil
}

// Supply says how a pool stands, as it was last seen or is now.
func (l *Ledger) Supply(ctx context.Context, subnet netip.Prefix, dynamic addrset.Range) (Supply, error) {
	var s Supply
	err := l.amend(ctx, subnet, true, func(p *page) (change, error) {
		s = p.supply(dynamic)
		return change{}, nil
	})
	return s, err
}

func (p *page) supply(dynamic addrset.Range) Supply {
	s := Supply{Free: dynamic.Len(), Hosts: len(p.Hosts)}
	s.Free -= min(s.Free, p.used(dynamic, p.shards))
	return s
}

// pick returns the shard to take from, with what is free of it: one that the host has
// some of already, else one that nobody has any of, else any, always the lowest. So
// two hosts write to the same shard only when they must.
func (p *page) pick(host string, dynamic addrset.Range) (netip.Addr, Bits) {
	free := func(base netip.Addr) Bits {
		return Within(base, dynamic).Without(p.shards[base].all()).Without(p.shared(base))
	}
	var own, other netip.Addr
	for base, s := range p.shards {
		if free(base) == (Bits{}) {
			continue
		}
		if _, ours := s.hosts[host]; ours && (!own.IsValid() || base.Less(own)) {
			own = base
		}
		if !other.IsValid() || base.Less(other) {
			other = base
		}
	}
	if own.IsValid() {
		return own, free(own)
	}
	for base := Base(dynamic.First); base.IsValid() && !dynamic.Last.Less(base); base = At(base, shardSize-1).Next() {
		if _, touched := p.shards[base]; !touched && free(base) != (Bits{}) {
			return base, free(base)
		}
	}
	if other.IsValid() {
		return other, free(other)
	}
	return netip.Addr{}, Bits{}
}

// TakeAddr takes one address for this host. If another host has it, the error is a
// [HeldError]. This host has have already.
func (l *Ledger) TakeAddr(ctx context.Context, subnet netip.Prefix, a netip.Addr, have Holdings) error {
	return l.amend(ctx, subnet, false, func(p *page) (change, error) {
		if err := p.mayTake(l.host, have); err != nil {
			return change{}, err
		}
		if role := p.role(a); role != "" {
			return change{}, fmt.Errorf("address %s is %w as %s of the network", a, ErrTaken, role)
		}
		s := p.shards[Base(a)]
		if holder := s.holder(a); holder != "" && holder != l.host {
			return change{}, &HeldError{Addr: a, Host: holder}
		}
		hosts := s.with(l.host, s.hosts[l.host].Or(Only(a)))
		return change{shards: map[netip.Addr]map[string]Bits{Base(a): hosts}}, nil
	})
}

// Holders returns how many addresses of a pool each host has, this one left out.
func (l *Ledger) Holders(ctx context.Context, subnet netip.Prefix, dynamic addrset.Range) (map[string]int, error) {
	holders := make(map[string]int)
	err := l.amend(ctx, subnet, true, func(p *page) (change, error) {
		for base, s := range p.shards {
			for host, b := range s.hosts {
				if n := b.And(Within(base, dynamic)).Len(); host != l.host && n > 0 {
					holders[host] += n
				}
			}
		}
		return change{}, nil
	})
	return holders, err
}
