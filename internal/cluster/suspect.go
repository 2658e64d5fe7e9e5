package cluster

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/ournet/ournet/internal/store"
)

// seeAlive takes over which hosts give a sign of life.
func (f *feed) seeAlive(l listing, now time.Time) {
	if l.fresh {
		// While the store was away, all leases may have ended.
		f.grace = now.Add(f.c.opts.TTL)
		f.plan(choreSuspects, now) // a removal may have been broken off
	}
	f.alive = make(map[HostID]bool, len(l.pairs))
	for _, p := range l.pairs {
		f.alive[HostID(strings.TrimPrefix(p.Key, store.AlivePrefix()))] = true
	}
	if !f.alive[f.c.self] {
		select {
		case f.c.beat <- struct{}{}:
		default:
		}
	}
	f.judge(now)
}

// judge decides who is suspect. That a key is gone for a moment, when a plugin is
// started again, does not count; nor does anything while the store is away.
func (f *feed) judge(now time.Time) {
	if f.c.in.isAway(listedAlive) {
		return // it is judged again when it is back
	}
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	var what touched
	for id, h := range f.c.state.hosts {
		switch {
		case id == f.c.self:
		case f.alive[id]:
			delete(f.missing, id)
			if h.suspect {
				h.suspect, h.suspicion = false, suspicion{}
				f.c.unmirrorLocked(store.SuspectKey(string(id)))
				what.host(id)
				f.log.WithField("host", id).WithField("name", h.Name).Info("host is back")
			}
		case h.suspect:
		default:
			if f.missing[id].IsZero() {
				f.missing[id] = now
			}
			at := f.missing[id].Add(min(settle, f.c.opts.TTL/4))
			if at.Before(f.grace) {
				at = f.grace
			}
			if now.Before(at) {
				f.plan(choreJudge, at)
				continue
			}
			h.suspect = true
			what.host(id)
			f.plan(choreSuspects, now)
			f.log.WithField("host", id).WithField("name", h.Name).Warn("host gives no sign of life")
		}
	}
	if !what.empty() {
		f.c.publishLocked(what)
	}
}

// suspects tells the cluster who is suspect since when, or learns it, and removes
// hosts that are so for too long, or whose removal had begun here.
func (f *feed) suspects(ctx context.Context) error {
	f.c.mu.Lock()
	var tell, begun, overdue []HostID
	for id, h := range f.c.state.hosts {
		if !h.suspect || id == f.c.self {
			continue
		}
		since, known := h.suspectSince()
		switch {
		case !known:
			tell = append(tell, id)
		case h.suspicion.Removing:
			begun = append(begun, id)
		case time.Since(since) >= f.patience:
			overdue = append(overdue, id)
		default:
			f.plan(choreSuspects, since.Add(f.patience))
		}
	}
	f.c.mu.Unlock()
	var errs []error
	for _, id := range begun {
		// The host may have been back meanwhile, and be only cut off now.
		still, err := f.stillRemoved(ctx, id)
		switch {
		case err != nil:
			errs = append(errs, err)
		case still:
			overdue = append(overdue, id)
		default:
			tell = append(tell, id)
		}
	}
	for _, id := range tell {
		errs = append(errs, f.tellSuspect(ctx, id))
	}
	for _, id := range overdue {
		f.remove(ctx, id)
	}
	return errors.Join(errs...)
}

// stillRemoved reports whether the cluster has it that the removal of a host has begun.
func (f *feed) stillRemoved(ctx context.Context, id HostID) (bool, error) {
	pair, err := f.c.shared.Get(ctx, store.SuspectKey(string(id)))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s, err := decode[suspicion](pair.Value)
	if err != nil {
		f.unreadable(pair.Key, err)
	}
	return err == nil && s.Removing, nil
}

// removeTime bounds the removal of a host at a time: meanwhile no news are taken.
const removeTime = 5 * time.Second

// remove removes a host, or says why it cannot; the next sweep tries it again.
func (f *feed) remove(ctx context.Context, id HostID) {
	bounded, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	log := f.log.WithField("host", id)
	err := f.c.RemoveHost(bounded, id)
	switch {
	case errors.Is(err, ErrHostAlive), errors.Is(err, ErrUnknownHost), ctx.Err() != nil:
	case err != nil:
		log.WithField("err", err).Warn("host cannot be removed now; it is tried again")
	default:
		log.Warn("host was removed: it was not seen for too long, or its removal had begun")
	}
}

// tellSuspect makes the record that a host is suspect, if nobody was quicker.
func (f *feed) tellSuspect(ctx context.Context, id HostID) error {
	key := store.SuspectKey(string(id))
	s := suspicion{Since: time.Now().UTC().Truncate(time.Millisecond)}
	value, err := encode(s)
	if err != nil {
		return err
	}
	_, err = f.c.shared.Apply(ctx, store.CAS(key, value, 0), store.Check(store.AliveKey(string(id)), 0))
	if errors.Is(err, store.ErrConflict) {
		pair, gerr := f.c.shared.Get(ctx, key)
		if errors.Is(gerr, store.ErrNotFound) {
			return nil // it is back
		}
		if gerr != nil {
			return gerr
		}
		if s, err = decode[suspicion](pair.Value); err != nil {
			f.unreadable(key, err)
			return nil
		}
	}
	if err != nil {
		return err
	}
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	h := f.c.state.hosts[id]
	if h == nil || !h.suspect {
		return nil
	}
	h.suspicion = s
	mirrorLocked(f.c, key, s)
	var what touched
	what.host(id)
	f.c.publishLocked(what)
	f.plan(choreSuspects, s.Since.Add(f.patience))
	return nil
}
