package ipam

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ournet/ournet/internal/store"
)

// load fills an empty manager with what the store has. What cannot be read is
// passed over with one warning, but its addresses are not given out: a newer
// version of ournet, to which the user may return, has them leased.
func (m *Manager) load(ctx context.Context) error {
	pairs, _, err := m.kv.List(ctx, store.PoolsPrefix(SpaceHost), 0)
	if err != nil {
		return err
	}
	// By age, so that memories come back in the order in which they were made.
	slices.SortStableFunc(pairs, func(a, b store.Pair) int { return cmp.Compare(a.Index, b.Index) })
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	var skipped []string
	for _, isLease := range []bool{false, true} { // pools first
		for _, pair := range pairs {
			subnet, addr, ok := store.SplitPoolKey(SpaceHost, pair.Key)
			if ok && isLease != (addr != "") {
				continue
			}
			if isLease {
				err = m.loadLease(subnet, addr, pair.Value, now)
			} else {
				err = m.loadPool(subnet, pair.Value, now)
			}
			if err != nil {
				skipped = append(skipped, fmt.Sprintf("%s: %v", pair.Key, err))
			}
		}
	}
	if len(skipped) > 0 {
		m.log.WithField("first", skipped[0]).Warnf("%d address records cannot be read and are passed over", len(skipped))
	}
	return nil
}

func (m *Manager) loadPool(text string, value []byte, now time.Time) error {
	subnet, err := netip.ParsePrefix(text)
	if err != nil {
		return err
	}
	r, err := decodePool(subnet, value)
	if err != nil {
		m.foreign = append(m.foreign, subnet)
		return err
	}
	id := NewPoolID(SpaceHost, subnet)
	m.pools[id] = newPool(id, r, now)
	return nil
}

func (m *Manager) loadLease(text, addrText string, value []byte, now time.Time) error {
	p := m.pools[PoolID(SpaceHost+"/"+text)]
	addr, err := netip.ParseAddr(addrText)
	if err != nil {
		return err
	}
	if p == nil {
		subnet, err := netip.ParsePrefix(text)
		if err == nil && !slices.Contains(m.foreign, subnet) { // left over; Sweep removes it
			m.strays[leaseKey(subnet, addr)] = &stray{pool: NewPoolID(SpaceHost, subnet), addr: addr}
		}
		return err
	}
	if !p.hosts.Contains(addr) {
		return fmt.Errorf("address is not one of %s", p.Subnet)
	}
	r, err := decodeLease(value)
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
