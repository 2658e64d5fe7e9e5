package names

import (
	"context"
	"sync"
)

// work is what goes on in the background. Of each thing to do, one runs at a time: who
// asks for it meanwhile has it run once more, so that it sees what he has changed.
type work struct {
	ctx   context.Context //nolint:containedctx // that of everything in the background: ends with close
	end   context.CancelFunc
	group sync.WaitGroup

	mu     sync.Mutex // guards following
	closed bool
	again  map[string]bool // by what runs; true if it is to run once more
}

func newWork() *work {
	ctx, cancel := context.WithCancel(context.Background())
	return &work{ctx: ctx, end: cancel, again: make(map[string]bool)}
}

// begin has f run until it returns, unless everything has ended.
func (w *work) begin(f func(ctx context.Context)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.group.Go(func() { f(w.ctx) })
	}
}

// do has f run in the background under a name, once after this call.
func (w *work) do(name string, f func(ctx context.Context)) {
	w.mu.Lock()
	_, running := w.again[name]
	w.again[name] = running
	w.mu.Unlock()
	if running {
		return
	}
	w.begin(func(ctx context.Context) {
		for {
			f(ctx)
			if !w.more(ctx, name) {
				return
			}
		}
	})
}

// more reports whether something is to run once more.
func (w *work) more(ctx context.Context, name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.again[name] && ctx.Err() == nil {
		w.again[name] = false
		return true
	}
	delete(w.again, name)
	return false
}

// running reports whether something runs under a name.
func (w *work) running(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.again[name]
	return ok
}

// close ends everything and waits for it.
func (w *work) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.end()
	w.group.Wait()
}
