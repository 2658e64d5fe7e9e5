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
}

// Check compares what this host takes for its own with the ledger. It takes part
// again if it was taken out, and takes again what is free of what is missing.
func (l *Ledger) Check(ctx context.Context, subnet netip.Prefix, have Holdings) (Checked, error) {
	back := false
	for {
		var found Checked
		more := false
		err := l.amend(ctx, subnet, true, func(p *page) (change, error) {
			var c change
			found, c, more = p.check(l.host, have)
			return c, nil
		})
		back = back || found.Back
		if err != nil || !more {
			found.Back = back
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
