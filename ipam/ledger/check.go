package ledger

import (
	"context"
	"net/netip"
)

// Checked is what [Ledger.Check] found.
type Checked struct {
	// Pool is the record to go by from now on.
	Pool Pool
	// Own is what of the host's addresses it has.
	Own Holdings
	// Lost are those that it has not, and who has them: a host, or "" for the
	// network itself.
	Lost map[netip.Addr]string
	// Back says that the host had been taken out of the pool.
	Back bool
	// Missed says that the ledger had not all of what this host had.
	Missed bool
}

// Check compares what this host takes for its own with the ledger. It takes part
// again if it was taken out, and takes again what is free of what is missing.
func (l *Ledger) Check(ctx context.Context, subnet netip.Prefix, have Holdings) (Checked, error) {
	back, missed := false, false
	for {
		var found Checked
		more := false
		err := l.amend(ctx, subnet, true, func(p *page) (change, error) {
			var c change
			found, c, more = p.check(l.host, have)
			return c, nil
		})
		back, missed = back || found.Back, missed || found.Missed
		if err != nil || !more {
			found.Back, found.Missed = back, missed
			return found, err
		}
	}
}

// check also reports whether there is more to be written than fits at once.
func (p *page) check(host string, have Holdings) (found Checked, c change, more bool) {
	found = Checked{Pool: p.Pool, Own: make(Holdings), Lost: make(map[netip.Addr]string)}
	c.shards = make(map[netip.Addr]map[string]Bits)
	if !p.has(host) {
		c.pool = p.with(host, &Member{})
		found.Pool, found.Back = *c.pool, true
	}
	for base, want := range have {
		s := p.shards[base]
		mine := want
		found.Missed = found.Missed || want.Without(s.hosts[host]) != (Bits{})
		for a := range want.Without(s.hosts[host]).All(base) {
			if holder := s.holder(a); holder != "" || p.role(a) != "" {
				found.Lost[a] = holder
				mine = mine.Without(Only(a))
			}
		}
		found.Own.Add(base, mine)
		next := s.hosts[host].Or(mine)
		switch {
		case next == s.hosts[host]:
		case len(c.shards) == maxOps-2:
			more = true
		default:
			c.shards[base] = s.with(host, next)
		}
	}
	return found, c, more
}

// Vouch says of other hosts what they are seen to use and nobody has: for a ledger that
// has lost its past. They may be away, and until they say it themselves nobody else may
// take it. A host that has it no more finds that out.
func (l *Ledger) Vouch(ctx context.Context, subnet netip.Prefix, others map[string]Holdings) error {
	for more := len(others) > 0; more; {
		err := l.amend(ctx, subnet, true, func(p *page) (c change, err error) {
			c, more = p.vouch(l.host, others)
			return c, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// vouch also reports whether there is more to be written than fits at once.
func (p *page) vouch(self string, others map[string]Holdings) (c change, more bool) {
	c.shards = make(map[netip.Addr]map[string]Bits)
	for host, have := range others {
		for base, want := range have {
			s := p.shards[base]
			planned, is := c.shards[base]
			if is {
				s.hosts = planned
			}
			want = want.Without(s.all()).Without(p.shared(base))
			switch {
			case host == self || want == (Bits{}):
			case !is && len(c.shards) == maxOps-2:
				more = true
			default:
				c.shards[base] = s.with(host, s.hosts[host].Or(want))
			}
		}
	}
	return c, more
}
