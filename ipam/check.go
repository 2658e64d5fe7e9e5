package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"github.com/ournet/ournet/ipam/ledger"
)

// checkPools compares this host's reserves with the ledger, if that is due: at start,
// and whenever the cluster store was away. A host that was away for so long that it
// was taken for dead finds out so.
func (m *Manager) checkPools(ctx context.Context, due bool) error {
	if !due {
		return nil
	}
	var errs []error
	for _, p := range m.shared(func(*pool) bool { return true }) {
		if err := m.checkPool(ctx, p); err != nil {
			errs = append(errs, fmt.Errorf("check address pool %s of the cluster: %w", p.Subnet, err))
		}
	}
	return errors.Join(errs...)
}

// checkFirst compares a reserve with the ledger before anything is given out of it by
// this process: the host may have been gone for long. If the store is away the reserve
// counts; Run compares it when the store is back.
func (m *Manager) checkFirst(ctx context.Context, id PoolID) error {
	due := func() (*pool, bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		p := m.pools[id]
		return p, p != nil && p.isShared() && !p.checked && p.writing == nil
	}
	p, is := due()
	if !is {
		return nil
	}
	done, err := m.turnOf(ctx, p)
	if err != nil {
		return err
	}
	defer done()
	if p, is = due(); !is { // somebody else has done it meanwhile
		return nil
	}
	err = m.compare(ctx, p)
	if ctx.Err() != nil {
		return err
	}
	if err != nil && m.cluster != nil {
		m.log.WithError(err).WithField("pool", p.Subnet).Warn("what this host has in reserve could not be compared with the cluster's")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p.checked = true
	return nil
}

func (m *Manager) checkPool(ctx context.Context, p *pool) error {
	done, err := m.turnOf(ctx, p)
	if err != nil {
		return err
	}
	defer done()
	return m.compare(ctx, p)
}

// compare is done by who has the pool's turn.
func (m *Manager) compare(ctx context.Context, p *pool) error {
	m.mu.Lock()
	gone := m.pools[p.id] != p
	record := p.poolRecord
	have := maps.Clone(p.reserve.owned)
	for a, l := range p.leases {
		if l.ofContainer() && l.Released.IsZero() { // also what the reserve has lost
			have.Add(ledger.Base(a), ledger.Only(a))
		}
	}
	m.mu.Unlock()
	if gone {
		return nil
	}
	var found ledger.Checked
	err := m.ask(ctx, "comparing reserves", func(ctx context.Context, l *ledger.Ledger) (err error) {
		found, err = l.Check(ctx, p.Subnet, have)
		if err == nil && found.Missed && !found.Back {
			err = l.Vouch(ctx, p.Subnet, m.othersOf(p))
		}
		if !errors.Is(err, ledger.ErrNoPool) {
			return err
		}
		// Freed with its last host, or another cluster store than it was.
		_, err = l.Join(ctx, false, func([]netip.Prefix) (ledger.Pool, error) {
			return ledger.Pool{Subnet: record.Subnet, Range: record.Range, Gateway: record.Gateway, Aux: record.Aux}, nil
		})
		if err == nil {
			found, err = l.Check(ctx, p.Subnet, have)
		}
		if err == nil {
			err = l.Vouch(ctx, p.Subnet, m.othersOf(p))
		}
		found.Back = true
		return err
	})
	if err != nil {
		return err
	}
	if found.Back {
		m.log.Warnf("this host had been taken out of address pool %s of the cluster; it takes part again", p.Subnet)
	}
	return errors.Join(m.follow(ctx, p, found.Pool), m.settle(ctx, p, found))
}

// othersOf returns what containers of other hosts are seen to have of the pool.
func (m *Manager) othersOf(p *pool) map[string]ledger.Holdings {
	others := make(map[string]ledger.Holdings)
	for host, addrs := range m.cluster.inUse(p.Subnet) {
		have := make(ledger.Holdings)
		for _, a := range addrs {
			if p.hosts.Contains(a) {
				have.Add(ledger.Base(a), ledger.Only(a))
			}
		}
		others[host] = have
	}
	return others
}

// settle brings the reserve to what the ledger has. An address that a container of
// this host has and another host as well is told: nobody but the user can say which of
// the two has to go.
func (m *Manager) settle(ctx context.Context, p *pool, found ledger.Checked) error {
	owned := make(ledger.Holdings)
	for base, b := range found.Own {
		owned.Add(base, b)
	}
	m.mu.Lock()
	bases := make(map[netip.Addr]bool)
	missing := make(ledger.Holdings)
	for base, b := range p.reserve.owned {
		missing.Add(base, b.Without(found.Own[base]))
	}
	for base, b := range missing {
		p.disown(base, b)
		bases[base] = true
	}
	for base, b := range found.Own {
		bases[base] = bases[base] || b != p.reserve.owned[base]
	}
	m.noteLostLocked(p, found.Lost)
	m.mu.Unlock()
	var changed []netip.Addr
	for base, is := range bases {
		if is {
			changed = append(changed, base)
		}
	}
	if err := m.writeReserve(ctx, p, owned, changed); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p.own(found.Own)
	p.checked = true
	return nil
}

func (m *Manager) noteLostLocked(p *pool, lost map[netip.Addr]string) {
	for a := range p.lost {
		if _, still := lost[a]; !still {
			delete(p.lost, a)
		}
	}
	for a, host := range lost {
		l := p.leases[a]
		known, told := p.lost[a]
		if l == nil || !l.Released.IsZero() || told && known == host {
			continue
		}
		p.lost[a] = host
		other := "host " + host
		if host == "" {
			other = "the network itself"
		}
		m.log.WithField("endpoint", short(l.endpoint)).Errorf("address %s of %s on this host belongs to %s as well: this host was cut off "+
			"for so long that its addresses were freed; restart one of the two", a, l.holder(p), other)
	}
}
