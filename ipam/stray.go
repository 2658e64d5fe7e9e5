package ipam

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"github.com/ournet/ournet/internal/store"
)

// stray is a key of which a write failed. It may have been done nevertheless: a
// deadline says nothing of what the store did.
type stray struct {
	pool PoolID
	addr netip.Addr // not valid for the pool's own record
}

// settleLocked notes how the write of a key ended. It reports whether the key
// was a stray before.
func (m *Manager) settleLocked(key string, s stray, err error) (was bool) {
	_, was = m.strays[key]
	if err != nil {
		m.strays[key] = &s
	} else {
		delete(m.strays, key)
	}
	return was
}

// repair brings the stray keys of the store to what the manager holds true.
func (m *Manager) repair(ctx context.Context) error {
	m.mu.Lock()
	strays := maps.Clone(m.strays)
	m.mu.Unlock()
	var problems []error
	for key, s := range strays {
		if err := m.repairKey(ctx, key, s); err != nil {
			problems = append(problems, fmt.Errorf("repair %s: %w", key, err))
		}
	}
	return errors.Join(problems...)
}

// repairKey holds no reservation while it writes. What keeps it from undoing a
// newer write is the condition: the key must still be as it was read before the
// manager's own view was.
func (m *Manager) repairKey(ctx context.Context, key string, s *stray) error {
	have, err := m.kv.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	want, busy, err := m.truth(s)
	if err != nil || busy {
		return err
	}
	switch {
	case want == nil && have.Index != 0:
		_, err = m.kv.Apply(ctx, store.DeleteCAS(key, have.Index))
	case want != nil && (have.Index == 0 || !bytes.Equal(want, have.Value)):
		_, err = m.kv.Apply(ctx, store.CAS(key, want, have.Index))
	}
	if errors.Is(err, store.ErrConflict) { // written meanwhile, thus settled
		return nil
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.strays[key] == s {
		delete(m.strays, key)
	}
	return nil
}

// truth returns what the store should have for s; nil means nothing. Busy means
// that a write is in flight, which will settle it.
func (m *Manager) truth(s *stray) (value []byte, busy bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pools[s.pool]
	if p == nil {
		return nil, false, nil
	}
	if p.writing != nil {
		return nil, true, nil
	}
	if !s.addr.IsValid() {
		value, err = encode(p.poolRecord)
		return value, false, err
	}
	l := p.leases[s.addr]
	if l == nil {
		return nil, false, nil
	}
	if l.writing != nil {
		return nil, true, nil
	}
	value, err = l.encode()
	return value, false, err
}
