package ipam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/ipam/ledger"
)

// load fills an empty manager with what the store has. What cannot be read is
// passed over with one warning, but its addresses are not given out: a newer
// version of ournet, to which the user may return, has them leased.
func (m *Manager) load(ctx context.Context) error {
	for _, space := range []string{SpaceHost, SpaceCluster} {
		pairs, _, err := m.kv.List(ctx, store.PoolsPrefix(space), 0)
		if err != nil {
			return err
		}
		m.loadSpace(space, pairs)
	}
	return nil
}

func (m *Manager) loadSpace(space string, pairs []store.Pair) {
	// By age, so that memories come back in the order in which they were made.
	slices.SortStableFunc(pairs, func(a, b store.Pair) int { return cmp.Compare(a.Index, b.Index) })
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	var skipped []string
	for _, load := range []func(string, store.Pair, time.Time) error{m.loadPool, m.loadReserve, m.loadLease} {
		for _, pair := range pairs {
			if err := load(space, pair, now); err != nil {
				skipped = append(skipped, fmt.Sprintf("%s: %v", pair.Key, err))
			}
		}
	}
	if len(skipped) > 0 {
		m.log.WithField("first", skipped[0]).Warnf("%d address records cannot be read and are passed over", len(skipped))
	}
}

// loadPool loads a pool's record, if the pair is one, or one that cannot be read.
func (m *Manager) loadPool(space string, pair store.Pair, now time.Time) error {
	text, addr, ok := store.SplitPoolKey(space, pair.Key)
	if _, _, isReserve := store.SplitReserveKey(space, pair.Key); addr != "" || isReserve {
		return nil
	}
	subnet, err := netip.ParsePrefix(text)
	if !ok || err != nil {
		return errors.New("not the key of a record")
	}
	r, err := decodePool(subnet, pair.Value)
	if err != nil {
		m.foreign = append(m.foreign, subnet)
		return err
	}
	id := NewPoolID(space, subnet)
	m.pools[id] = newPool(id, r, now)
	return nil
}

// loadReserve loads what this host has of a shard. Without its pool it is of no use:
// the ledger has it as well.
func (m *Manager) loadReserve(space string, pair store.Pair, _ time.Time) error {
	text, baseText, ok := store.SplitReserveKey(space, pair.Key)
	p := m.pools[PoolID(space+"/"+text)]
	if !ok || p == nil || p.reserve == nil {
		return nil
	}
	base, err := netip.ParseAddr(baseText)
	if err != nil {
		return err
	}
	b, err := decodeReserve(pair.Value)
	if err != nil {
		return err
	}
	p.own(ledger.Holdings{base: b})
	return nil
}

// loadLease loads a lease, if the pair is one.
func (m *Manager) loadLease(space string, pair store.Pair, now time.Time) error {
	text, addrText, ok := store.SplitPoolKey(space, pair.Key)
	if !ok || addrText == "" {
		return nil
	}
	p := m.pools[PoolID(space+"/"+text)]
	addr, err := netip.ParseAddr(addrText)
	if err != nil {
		return err
	}
	if p == nil {
		subnet, err := netip.ParsePrefix(text)
		if err == nil && !slices.Contains(m.foreign, subnet) { // left over; Sweep removes it
			id := NewPoolID(space, subnet)
			m.strays[id.leaseKey(addr)] = &stray{pool: id, addr: addr}
		}
		return err
	}
	if !p.hosts.Contains(addr) {
		return fmt.Errorf("address is not one of %s", p.Subnet)
	}
	r, err := decodeLease(pair.Value)
	if err != nil {
		r = leaseRecord{Kind: kindForeign}
	}
	p.put(addr, &lease{leaseRecord: r, since: now})
	// The search goes on above what was given out before.
	if next := addr.Next(); r.Kind == kindDynamic && p.dynamic.Contains(next) && p.cursor.Less(next) {
		p.cursor = next
	}
	return err
}
