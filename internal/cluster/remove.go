package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ournet/ournet/internal/backoff"
	"github.com/ournet/ournet/internal/store"
)

// RemoveHost removes all that a host said that is gone for good, and frees what it
// had. One that gives a sign of life is ErrHostAlive. A host that was only cut off
// says everything again when it is back, but may not get its addresses back.
//
// It may be done again at any point, by any host. What fails because of the cluster
// store it does again until ctx ends, and what it has not ended then, this host ends
// when the store is back.
func (c *Cluster) RemoveHost(ctx context.Context, id HostID) error {
	r := &hostRemoval{Cluster: c, id: id}
	err := r.run(ctx)
	switch {
	case err == nil:
		return nil
	case r.begun && (isOfStore(err) || ctx.Err() != nil):
		return fmt.Errorf("remove host %s: it has begun, and is ended when the cluster store is back: %w", id, err)
	default:
		return fmt.Errorf("remove host %s: %w", id, err)
	}
}

// hostRemoval is the removal of one host.
type hostRemoval struct {
	*Cluster

	id HostID
	// begun says that the host may be marked, and may be removed already.
	begun bool
}

func (r *hostRemoval) run(ctx context.Context) error {
	if r.id == r.self {
		return fmt.Errorf("%w: it is this one", ErrHostAlive)
	}
	again := backoff.Backoff{First: 50 * time.Millisecond, Most: time.Second}
	for failures := 0; ; failures++ {
		err := r.once(ctx)
		if r.begun && errors.Is(err, ErrUnknownHost) {
			return nil // an answer was lost, or somebody else was faster
		}
		if err == nil || !isOfStore(err) || !again.Wait(ctx, failures) {
			return err
		}
	}
}

// isOfStore reports whether what failed so may be done the next time.
func isOfStore(err error) bool {
	return errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUncertain)
}

// once removes the host if nothing comes in between. All hosts forget its endpoints
// before its addresses are free: another container may have those at once.
func (r *hostRemoval) once(ctx context.Context) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	if err := r.forgetEndpoints(ctx); err != nil {
		return err
	}
	if r.opts.FreeHost != nil {
		if err := r.opts.FreeHost(ctx, r.id, r.gone()); err != nil {
			return fmt.Errorf("free what it has: %w", r.unlessBack(ctx, err))
		}
	}
	stale, err := r.staleRemovals(ctx)
	if err != nil {
		return err
	}
	if err := r.delete(ctx, stale); err != nil {
		return err
	}
	id := string(r.id)
	// The fence stays: it is what keeps a late write of that host out.
	return r.whileGone(ctx, store.Delete(store.HostKey(id)), store.Delete(store.ChangeKey(id)), store.Delete(store.SuspectKey(id)))
}

// forgetEndpoints deletes what the host said of networks, and has the others look.
func (r *hostRemoval) forgetEndpoints(ctx context.Context) error {
	pairs, _, err := r.shared.List(ctx, store.EndpointsPrefix(), 0)
	if err != nil {
		return err
	}
	gone := make([]store.Op, 0, len(pairs))
	// Members come before their endpoints in the list; they are to go after them.
	for _, p := range slices.Backward(pairs) {
		if _, host, _, ok := store.SplitEndpointKey(p.Key); ok && host == string(r.id) {
			gone = append(gone, store.DeleteCAS(p.Key, p.Index))
		}
	}
	if err := r.delete(ctx, gone); err != nil {
		return err
	}
	key := store.ChangeKey(string(r.id))
	pair, err := r.shared.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil // who knows it knows it no more
	}
	if err != nil {
		return err
	}
	value, err := encode(newEpoch())
	if err != nil {
		return err
	}
	return r.whileGone(ctx, store.CAS(key, value, pair.Index))
}

// delete does many deletions while the host is gone.
func (r *hostRemoval) delete(ctx context.Context, gone []store.Op) error {
	for batch := range slices.Chunk(gone, atOnce-1) {
		if err := r.whileGone(ctx, batch...); err != nil {
			return err
		}
	}
	return nil
}

// staleRemovals returns what deletes a host's removals of networks that are gone. One
// that still holds has to outlive the host that said it.
func (r *hostRemoval) staleRemovals(ctx context.Context) ([]store.Op, error) {
	pairs, _, err := r.shared.List(ctx, store.NetworksPrefix(), 0)
	if err != nil {
		return nil, err
	}
	there := make(map[string]bool)
	var stale []store.Op
	for _, p := range pairs {
		// A network comes before its removals.
		network, remover, ok := store.SplitNetworkKey(p.Key)
		switch {
		case ok && remover == "":
			there[network] = true
		case ok && remover == string(r.id) && !there[network]:
			stale = append(stale, store.DeleteCAS(p.Key, p.Index))
		}
	}
	return stale, nil
}

// gone is the condition of all that is done to the host.
func (r *hostRemoval) gone() store.Op { return store.Check(store.AliveKey(string(r.id)), 0) }

// unlessBack returns that the host is back if that may be why something failed.
func (r *hostRemoval) unlessBack(ctx context.Context, err error) error {
	if _, gerr := r.shared.Get(ctx, store.AliveKey(string(r.id))); gerr == nil {
		return fmt.Errorf("%w: it came back", ErrHostAlive)
	}
	return err
}

// whileGone does ops if the host still gives no sign of life.
func (r *hostRemoval) whileGone(ctx context.Context, ops ...store.Op) error {
	_, err := r.shared.Apply(ctx, append([]store.Op{r.gone()}, ops...)...)
	if errors.Is(err, store.ErrConflict) {
		return r.unlessBack(ctx, err)
	}
	return err
}

// begin marks the host: should it come back now, it says everything again.
func (r *hostRemoval) begin(ctx context.Context) error {
	if r.isSeen() {
		return r.alive()
	}
	key := store.SuspectKey(string(r.id))
	pair, err := r.shared.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	s := suspicion{Since: time.Now().UTC().Truncate(time.Millisecond)}
	if err == nil {
		if s, err = decode[suspicion](pair.Value); err != nil {
			return err
		}
	} else if err := r.known(ctx); err != nil {
		return err
	}
	s.Removing = true
	value, err := encode(s)
	if err != nil {
		return err
	}
	_, err = r.shared.Apply(ctx, store.CAS(key, value, pair.Index), r.gone())
	if errors.Is(err, store.ErrConflict) {
		if _, gerr := r.shared.Get(ctx, store.AliveKey(string(r.id))); gerr == nil {
			return r.alive()
		}
		return err
	}
	if err == nil || errors.Is(err, store.ErrUncertain) {
		r.begun = true
		r.note(s)
	}
	return err
}

// isSeen reports whether this host takes it for alive. Its key of life may be gone for an
// instant all the same: that of a host that takes another lease.
func (r *hostRemoval) isSeen() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.state.hosts[r.id]
	return h != nil && !h.suspect
}

func (r *hostRemoval) alive() error {
	return fmt.Errorf("%w; stop its plugin first, and wait until it is suspect", ErrHostAlive)
}

// note has this host end the removal, should it not be ended now.
func (r *hostRemoval) note(s suspicion) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.state.hosts[r.id]; h != nil && h.suspicion != s {
		h.suspect, h.suspicion = true, s
		mirrorLocked(r.Cluster, store.SuspectKey(string(r.id)), s)
		var what touched
		what.host(r.id)
		r.publishLocked(what)
		r.in.poke()
	}
}

// known reports ErrUnknownHost unless the store has something of a host.
func (r *hostRemoval) known(ctx context.Context) error {
	for _, key := range []string{store.HostKey(string(r.id)), store.ChangeKey(string(r.id)), store.AliveKey(string(r.id))} {
		if _, err := r.shared.Get(ctx, key); err == nil {
			return nil
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return ErrUnknownHost
}
