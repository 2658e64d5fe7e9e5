package journal_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
)

func discard() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// fate is what becomes of a call.
type fate int

const (
	done    fate = iota
	refused      // nothing happens, and the caller knows
	lost         // it is done, and the answer is lost
	late         // the answer is lost, and it is done some time later
)

// fates is how many fates there are.
const fates = 4

var errCrash = errors.New("crash")

// flaky is a store that meets the fates in turn, and then does what it is told.
type flaky struct {
	*memstore.Store

	mu    sync.Mutex // guards all below
	fates []fate
	held  [][]store.Op // what is done later
	after func()       // is called once, after the next call that is done
}

func (f *flaky) next() fate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.fates) == 0 {
		return done
	}
	next := f.fates[0]
	f.fates = f.fates[1:]
	return next
}

func (f *flaky) meet(fates []fate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fates = fates
}

func (f *flaky) Get(ctx context.Context, key string) (store.Pair, error) {
	if f.next() != done {
		return store.Pair{}, store.ErrUnavailable
	}
	return f.Store.Get(ctx, key)
}

func (f *flaky) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	switch next := f.next(); next {
	case refused:
		return 0, store.ErrUnavailable
	case lost:
		_, err := f.Store.Apply(ctx, ops...)
		return 0, errors.Join(store.ErrUncertain, err)
	case late:
		f.mu.Lock()
		defer f.mu.Unlock()
		f.held = append(f.held, ops)
		return 0, store.ErrUncertain
	case done:
		index, err := f.Store.Apply(ctx, ops...)
		f.mu.Lock()
		after := f.after
		f.after = nil
		f.mu.Unlock()
		if after != nil {
			after()
		}
		return index, err
	default:
		return 0, fmt.Errorf("no fate: %d", next)
	}
}

// land does one of what was held.
func (f *flaky) land(i int) error {
	f.mu.Lock()
	ops := f.held[i]
	f.held = append(f.held[:i:i], f.held[i+1:]...)
	f.mu.Unlock()
	if _, err := f.Store.Apply(context.Background(), ops...); err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("late: %w", err)
	}
	return nil
}

// mortal is the host's own store, of a process that is killed before or after some
// write.
type mortal struct {
	*memstore.Store

	fates []fate
}

func (m *mortal) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	next := done
	if len(m.fates) > 0 {
		next, m.fates = m.fates[0], m.fates[1:]
	}
	if next == done {
		return m.Store.Apply(ctx, ops...)
	}
	if next == refused {
		return 0, errCrash
	}
	_, err := m.Store.Apply(ctx, ops...)
	return 0, errors.Join(errCrash, err)
}
