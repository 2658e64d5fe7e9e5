package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ournet/ournet/internal/store"
)

// answerTime is how long a host has to answer a claim.
const answerTime = time.Second

// Claim is a question to a host: to give an address that it has and does not use, or
// any.
type Claim struct {
	Version int          `json:"v"`
	From    string       `json:"from"`
	Subnet  netip.Prefix `json:"subnet"`
	// Addr is the address; not valid means any that a container may get.
	Addr netip.Addr `json:"addr,omitzero"`
	// Refused says why the host gives nothing; "" while it has not answered. If it
	// gives something, it deletes the claim.
	Refused string `json:"refused,omitempty"`
}

// Asked is a claim that this host has to answer.
type Asked struct {
	Claim

	key   string
	index store.Index
}

// NoAnswerError says that a host did not answer a claim.
type NoAnswerError struct{ Host string }

// Error implements error.
func (e *NoAnswerError) Error() string {
	return fmt.Sprintf("host %s does not answer; if it is gone for good, free its addresses with `docker ournet host rm %s`", e.Host, e.Host)
}

// Is makes a NoAnswerError an [ErrTaken].
func (e *NoAnswerError) Is(target error) bool { return target == ErrTaken }

// RefusedError says why a host gives nothing.
type RefusedError struct{ Host, Why string }

// Error implements error.
func (e *RefusedError) Error() string { return e.Why + " on host " + e.Host }

// Is makes a RefusedError an [ErrTaken].
func (e *RefusedError) Is(target error) bool { return target == ErrTaken }

// Ask asks a host for an address of a pool, or for any, and waits until it has given
// or refused it. This host asks for the same only once at a time.
func (l *Ledger) Ask(ctx context.Context, holder string, subnet netip.Prefix, a netip.Addr) error {
	what := "any." + l.host
	if a.IsValid() {
		what = a.String()
	}
	key := store.ClaimKey(holder, subnet.String(), what)
	value, err := encode(Claim{Version: recordVersion, From: l.host, Subnet: subnet, Addr: a})
	if err != nil {
		return err
	}
	index, err := l.kv.Apply(ctx, store.CAS(key, value, 0))
	if errors.Is(err, store.ErrConflict) {
		if err := l.clear(ctx, key); err != nil {
			return err
		}
		index, err = l.kv.Apply(ctx, store.CAS(key, value, 0))
	}
	if err != nil {
		return err
	}
	err = l.await(ctx, holder, key, index)
	if err != nil {
		// Not with ctx, which may be why nothing came.
		tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
		defer cancel()
		if cerr := l.clear(tidy, key); !errors.Is(cerr, ErrTaken) { // else another host asks now
			err = errors.Join(err, cerr)
		}
	}
	return err
}

// clear removes a claim of this host, from just now or from before a crash, or one that
// was refused and that who asked has not cleared away. That another host is still asking
// is an [ErrTaken].
func (l *Ledger) clear(ctx context.Context, key string) error {
	for {
		pair, err := l.kv.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		var c Claim
		if err := decode(pair.Value, &c); err != nil {
			return fmt.Errorf("claim %s: %w", key, err)
		}
		if c.From != l.host && c.Refused == "" {
			return fmt.Errorf("address %s is %w: host %s is just asking for it", c.Addr, ErrTaken, c.From)
		}
		_, err = l.kv.Apply(ctx, store.DeleteCAS(key, pair.Index))
		if !errors.Is(err, store.ErrConflict) { // which says that it was answered just now
			return err
		}
	}
}

func (l *Ledger) drop(ctx context.Context, key string) error {
	_, err := l.kv.Apply(ctx, store.Delete(key))
	return err
}

// await returns nil when the claim is gone, which is how it is met.
func (l *Ledger) await(ctx context.Context, holder, key string, after store.Index) error {
	wait, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for {
		pairs, index, err := l.kv.List(wait, key, after)
		if wait.Err() != nil && ctx.Err() == nil {
			return &NoAnswerError{Host: holder}
		}
		if err != nil {
			return err
		}
		at := slices.IndexFunc(pairs, func(p store.Pair) bool { return p.Key == key })
		if at < 0 {
			return nil
		}
		var c Claim
		if err := decode(pairs[at].Value, &c); err != nil {
			return fmt.Errorf("claim %s: %w", key, err)
		}
		if c.Refused != "" {
			return &RefusedError{Host: holder, Why: c.Refused}
		}
		after = index
	}
}

// Answerer is told by [Ledger.Answer] what it sees.
type Answerer struct {
	// Asked gets each claim, as long as nobody answers it.
	Asked func(Asked)
	// Back is called whenever the store can be asked again, and Away when it cannot.
	Back func()
	Away func(error)
}

// Answer watches what other hosts ask of this one until ctx ends.
func (l *Ledger) Answer(ctx context.Context, a Answerer) error {
	return store.Watch(ctx, l.kv, store.ClaimsPrefix(l.host), &answerer{Answerer: a})
}

type answerer struct {
	Answerer

	seen    map[string]store.Index
	isThere bool
}

// See implements [store.Watcher].
func (w *answerer) See(pairs []store.Pair) {
	if !w.isThere {
		w.isThere = true
		w.Back()
	}
	seen := make(map[string]store.Index, len(pairs))
	for _, pair := range pairs {
		seen[pair.Key] = pair.Index
		var c Claim
		// What a later version asks is for a later version to answer.
		if w.seen[pair.Key] == pair.Index || decode(pair.Value, &c) != nil || c.Refused != "" {
			continue
		}
		w.Asked(Asked{Claim: c, key: pair.Key, index: pair.Index})
	}
	w.seen = seen
}

// Away implements [store.Watcher].
func (w *answerer) Away(err error) {
	w.isThere, w.seen = false, nil
	w.Answerer.Away(err)
}

// Grant gives addresses of one shard, which the caller has no more, to who asked for
// them.
func (l *Ledger) Grant(ctx context.Context, q Asked, base netip.Addr, b Bits) error {
	n, err := l.Give(ctx, q.Subnet, base, b, q.From, store.Delete(q.key))
	if err == nil && n == 0 { // not ours any more, so who asked can look again
		err = l.drop(ctx, q.key)
	}
	return err
}

// Refuse says why there is nothing for who asked.
func (l *Ledger) Refuse(ctx context.Context, q Asked, why string) error {
	c := q.Claim
	c.Refused = why
	value, err := encode(c)
	if err != nil {
		return err
	}
	_, err = l.kv.Apply(ctx, store.CAS(q.key, value, q.index))
	return unlessConflict(err)
}

// Unask removes all that is asked of a host that is gone.
func (l *Ledger) Unask(ctx context.Context, host string) error {
	pairs, _, err := l.kv.List(ctx, store.ClaimsPrefix(host), 0)
	var errs []error
	for _, p := range pairs {
		errs = append(errs, l.drop(ctx, p.Key))
	}
	return errors.Join(append(errs, err)...)
}
