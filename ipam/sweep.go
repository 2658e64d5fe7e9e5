package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// maxMemory bounds the released addresses that a pool remembers for their
	// last holder, and with them its records in the store.
	maxMemory = 1024
	// sweepers is how many writes of a sweep are in flight at once, so that the
	// store can put them together.
	sweepers = 32
)

// Sweep frees what was given out and never taken up: leases that are bound to no
// endpoint, and pools that are bound to no network, for longer than the time to
// confirm. It returns one line for each. It also drops memories that are of no
// more use, and repairs what failed writes have left in the store. On an error
// the rest is still done; the next Sweep tries again.
//
// The pools of elsewhere are spared, with their leases: networks of other drivers
// have them (`-d bridge --ipam-driver ournet`), which nobody binds.
func (m *Manager) Sweep(ctx context.Context, elsewhere []netip.Prefix) (reclaimed []string, err error) {
	problems := []error{m.repair(ctx)}
	var mu sync.Mutex // guards reclaimed and problems
	var g errgroup.Group
	g.SetLimit(sweepers)
	for _, v := range m.victims(elsewhere) {
		g.Go(func() error {
			done, err := v.end(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				problems = append(problems, fmt.Errorf("reclaim %s: %w", v.line, err))
			}
			if done && v.line != "" {
				reclaimed = append(reclaimed, v.line)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		problems = append(problems, err)
	}
	slices.Sort(reclaimed)
	return reclaimed, errors.Join(problems...)
}

// victim is something to be freed, if it still is when its turn comes.
type victim struct {
	// line says what it is; "" for what the user never had.
	line string
	end  func(context.Context) (bool, error)
}

func (m *Manager) victims(elsewhere []netip.Prefix) []victim {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []victim
	for id, p := range m.pools {
		if p.network == "" && p.isOneOf(elsewhere) {
			continue
		}
		if m.poolOverdue(p) {
			all = append(all, victim{
				line: fmt.Sprintf("address pool %s, which no network has", p.Subnet),
				end:  func(ctx context.Context) (bool, error) { return m.freePool(ctx, id, m.poolOverdue) },
			})
			continue
		}
		excess := p.memory.len() - maxMemory
		for addr := range p.memory.oldest {
			if excess--; excess < 0 {
				break
			}
			all = append(all, m.forget(id, addr, func(p *pool, l *lease) bool {
				return !l.Released.IsZero() && p.memory.len() > maxMemory
			}))
		}
		all = append(all, m.leaseVictims(p)...)
	}
	return all
}

// isOneOf reports whether one of the subnets is the pool's. Of a network for which only
// a length was said (see [PoolRequest]) Engine 20.10 shows just that, so every pool of
// that length that was chosen here may be meant.
func (p *pool) isOneOf(subnets []netip.Prefix) bool {
	return slices.ContainsFunc(subnets, func(s netip.Prefix) bool {
		onlyLength := s.Addr().IsUnspecified() && s.Bits() == p.Subnet.Bits() && s.Addr().Is4() == p.Subnet.Addr().Is4()
		return s == p.Subnet || p.Auto && onlyLength
	})
}

func (m *Manager) leaseVictims(p *pool) []victim {
	var all []victim
	for addr, l := range p.leases {
		switch {
		case m.leaseOverdue(p, l):
			line := fmt.Sprintf("address %s of %s, which no endpoint has", addr, p.title())
			all = append(all, victim{line: line, end: func(ctx context.Context) (bool, error) {
				return m.end(ctx, p.id, addr, m.leaseOverdue)
			}})
		case p.stale(addr, l, m.now(), m.confirm):
			all = append(all, m.forget(p.id, addr, func(p *pool, l *lease) bool {
				return p.stale(addr, l, m.now(), m.confirm)
			}))
		}
	}
	return all
}

func (m *Manager) forget(id PoolID, addr netip.Addr, want func(*pool, *lease) bool) victim {
	return victim{end: func(ctx context.Context) (bool, error) { return m.end(ctx, id, addr, want) }}
}

func (m *Manager) poolOverdue(p *pool) bool {
	return p.network == "" && m.overdue(p.since)
}

func (m *Manager) leaseOverdue(_ *pool, l *lease) bool {
	return l.ofContainer() && l.Released.IsZero() && l.endpoint == "" && m.overdue(l.since)
}

func (m *Manager) overdue(since time.Time) bool { return m.now().Sub(since) >= m.confirm }
