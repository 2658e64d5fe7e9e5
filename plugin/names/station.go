package names

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/dns"
	"github.com/ournet/ournet/internal/sandbox"
	"github.com/ournet/ournet/internal/turn"
)

const (
	// openTimeout bounds how long a verb waits for other work on its sandbox.
	openTimeout = time.Second
	// awaitTimeout is how long to wait for a namespace that the engine is to make.
	awaitTimeout = 30 * time.Second
	// openers is how many sandboxes are opened side by side at the start.
	openers = 8
)

// awaiting is somebody who waits for a namespace.
type awaiting struct{ cancel context.CancelFunc }

// stations are the responders in the sandboxes of this host.
type stations struct {
	log       logrus.FieldLogger
	sandboxes *sandbox.Sandboxes
	responder *dns.Responder
	work      *work
	// wanted says whether a sandbox shall have one.
	wanted func(key string) bool
	// turns keep what is done to one sandbox in order.
	turns turn.Turns

	mu      sync.Mutex // guards following
	serving map[string]*sandbox.Sandbox
	awaited map[string]*awaiting
	// complained are those of which it was told that they have none.
	complained map[string]bool
}

func newStations(
	log logrus.FieldLogger, sandboxes *sandbox.Sandboxes, responder *dns.Responder, w *work, wanted func(key string) bool,
) *stations {
	return &stations{
		log: log, sandboxes: sandboxes, responder: responder, work: w, wanted: wanted,
		serving: make(map[string]*sandbox.Sandbox), awaited: make(map[string]*awaiting), complained: make(map[string]bool),
	}
}

// open opens many sandboxes.
func (s *stations) open(ctx context.Context, keys []string) {
	var g errgroup.Group
	g.SetLimit(openers)
	for _, key := range keys {
		g.Go(func() error {
			s.now(ctx, key)
			return nil
		})
	}
	_ = g.Wait() // none returns an error
}

// now brings a sandbox to what it shall be. Trouble is logged once.
func (s *stations) now(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	err := s.settle(ctx, key)
	s.mu.Lock()
	told := s.complained[key]
	if err != nil {
		s.complained[key] = true
	} else {
		delete(s.complained, key)
	}
	s.mu.Unlock()
	switch log := s.log.WithError(err).WithField("sandbox", key); {
	case err != nil && told:
		log.Debug("a container still has the engine's names only")
	case err != nil:
		log.Error("a container has the engine's names only")
	}
}

// later is now in the background, after all that a verb has still to do. It takes some
// 10 ms to take rules away.
func (s *stations) later(key string) {
	s.work.do("sandbox "+key, func(ctx context.Context) { s.now(ctx, key) })
}

// repair opens those sandboxes that should be open and are not, and tells which.
func (s *stations) repair(ctx context.Context, keys []string) (repairs []string) {
	for _, key := range keys {
		if s.isServing(key) || s.isAwaited(key) {
			continue
		}
		s.now(ctx, key)
		if s.isServing(key) {
			repairs = append(repairs, "resolver of sandbox "+key)
		}
	}
	return repairs
}

func (s *stations) settle(ctx context.Context, key string) error {
	done, err := s.turns.Take(ctx, key)
	if err != nil {
		return err
	}
	defer done()
	if !s.wanted(key) {
		s.stopAwaiting(key, nil)
		return s.sandboxes.Remove(ctx, key) // which ends its responder
	}
	box, err := s.sandboxes.Ensure(ctx, key)
	switch {
	case errors.Is(err, sandbox.ErrGone):
		s.await(key) //nolint:contextcheck // it waits longer than the verb
		return nil
	case err != nil:
		return err
	}
	s.stopAwaiting(key, nil)
	s.serve(key, box)
	return nil
}

// serve has the responder answer in a sandbox, if it does not yet.
func (s *stations) serve(key string, box *sandbox.Sandbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving[key] == box {
		return
	}
	s.serving[key] = box
	s.work.begin(func(ctx context.Context) {
		err := s.responder.Serve(ctx, dns.SandboxKey(key), dns.Sockets{UDP: box.UDP, TCP: box.TCP, Dial: box.Dial})
		s.mu.Lock()
		if s.serving[key] == box {
			delete(s.serving, key)
		}
		s.mu.Unlock()
		select {
		case <-box.Gone():
			return // that closed the sockets
		case <-ctx.Done():
			return
		default:
		}
		// Queries would go to sockets that are closed.
		rerr := s.sandboxes.Remove(ctx, key)
		s.log.WithError(errors.Join(err, rerr)).WithField("sandbox", key).Error("a responder ended; it is put back with the next sweep")
	})
}

// await waits in the background for a namespace that is not there yet: engines up to
// 27 make it after they have asked for the container's interfaces.
func (s *stations) await(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.awaited[key] != nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.work.ctx, awaitTimeout)
	a := &awaiting{cancel}
	s.awaited[key] = a
	s.work.begin(func(life context.Context) {
		err := s.sandboxes.Await(ctx, key)
		ended := ctx.Err() != nil
		s.stopAwaiting(key, a)
		switch {
		case err == nil:
			s.now(life, key)
		case !ended:
			s.log.WithError(err).WithField("sandbox", key).Error("a container's namespace cannot be waited for")
		}
	})
}

// stopAwaiting ends that wait for a sandbox, or if it is nil, whichever there is.
func (s *stations) stopAwaiting(key string, only *awaiting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.awaited[key]; a != nil && (only == nil || a == only) {
		a.cancel()
		delete(s.awaited, key)
	}
}

func (s *stations) isServing(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serving[key] != nil
}

func (s *stations) isAwaited(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.awaited[key] != nil
}
