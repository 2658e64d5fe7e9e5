package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/ournet/ournet/internal/store"
)

// Consul's limits of one transaction (agent/txn_endpoint.go, convertOps): its ops,
// and the bytes of the request, in which values are written in base64.
const (
	maxOps   = 128
	maxBytes = 512 << 10
)

// Apply implements [store.KV].
func (s *Store) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	if err := store.CheckOps(ops); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("apply: %w", err)
	}
	if len(ops) == 0 {
		return 0, nil
	}
	t := s.encode(ops, 1+rand.Uint64N(1<<63)) //nolint:gosec // it only has to differ from others
	if err := t.check(); err != nil {
		return 0, fmt.Errorf("apply: %w", err)
	}
	index, err := s.run(ctx, t)
	if errors.Is(err, store.ErrUncertain) {
		if at, found := s.find(ctx, t); found {
			return at, nil
		}
	}
	if err != nil {
		return 0, fmt.Errorf("apply: %w", err)
	}
	return index, nil
}

// txn is one Apply in Consul's words.
type txn struct {
	ops    consulapi.TxnOps
	writes bool
	// mark is in the flags of all keys that the transaction writes, and these are
	// the keys that still have it afterwards.
	mark   uint64
	marked []string
}

// encode says ops in Consul's words.
func (s *Store) encode(ops []store.Op, mark uint64) txn {
	t := txn{mark: mark}
	for _, op := range ops {
		if op.Kind == store.OpSet || op.Kind == store.OpCAS {
			t.marked = append(t.marked, s.prefix+op.Key)
		}
	}
	told := len(t.marked) > 0 // whether the result tells the index
	for _, op := range ops {
		kv := consulapi.KVTxnOp{Key: s.prefix + op.Key, Value: op.Value, Index: uint64(op.Index), Flags: mark, Session: op.Lease}
		switch op.Kind {
		case store.OpSet:
			kv.Index = 0
			t.add(setVerb(op), kv)
		case store.OpCAS:
			t.add(consulapi.KVCAS, kv)
		case store.OpDelete, store.OpDeleteCAS:
			conditional := op.Kind == store.OpDeleteCAS
			if conditional {
				t.check1(kv)
			}
			if conditional && op.Index == 0 {
				continue // it is absent, which was the condition
			}
			if !told {
				t.add(consulapi.KVSet, consulapi.KVTxnOp{Key: kv.Key, Flags: mark})
				told = true
			}
			t.add(consulapi.KVDelete, consulapi.KVTxnOp{Key: kv.Key})
		case store.OpCheck:
			t.check1(kv)
		}
	}
	return t
}

func setVerb(op store.Op) consulapi.KVOp {
	if op.Lease != "" {
		return consulapi.KVLock
	}
	return consulapi.KVSet
}

// check1 adds the condition that a key is at kv's index. Consul's own delete-cas
// takes a missing key for deleted, so it is not used.
func (t *txn) check1(kv consulapi.KVTxnOp) {
	verb := consulapi.KVCheckIndex
	if kv.Index == 0 {
		verb = consulapi.KVCheckNotExists
	}
	t.ops = append(t.ops, &consulapi.TxnOp{KV: &consulapi.KVTxnOp{Verb: verb, Key: kv.Key, Index: kv.Index}})
}

func (t *txn) add(verb consulapi.KVOp, kv consulapi.KVTxnOp) {
	kv.Verb = verb
	t.writes = true
	t.ops = append(t.ops, &consulapi.TxnOp{KV: &kv})
}

// check refuses what Consul would refuse, before it is sent to every server.
func (t *txn) check() error {
	if len(t.ops) > maxOps {
		return fmt.Errorf("%w: it takes %d of Consul's ops, which has at most %d in a transaction", store.ErrTooLarge, len(t.ops), maxOps)
	}
	body, err := json.Marshal(t.ops)
	if err != nil {
		return err
	}
	if len(body) > maxBytes {
		return fmt.Errorf("%w: it takes %d bytes, and Consul takes at most %d in a transaction", store.ErrTooLarge, len(body), maxBytes)
	}
	return nil
}

// run does the transaction. If it only checks, it is a read to Consul.
func (s *Store) run(ctx context.Context, t txn) (store.Index, error) {
	var (
		ok     bool
		answer *consulapi.TxnResponse
	)
	when := anytime
	if t.writes {
		when = once
	}
	err := s.servers.ask(ctx, when, func(ctx context.Context, c *consulapi.Client) error {
		var err error
		ok, answer, _, err = c.Txn().Txn(t.ops, s.consistent(ctx))
		if err != nil || ok {
			return err
		}
		return s.servers.refused(answer.Errors)
	})
	if err != nil {
		return 0, err
	}
	var index store.Index
	for _, r := range answer.Results {
		if r.KV != nil {
			index = max(index, store.Index(r.KV.ModifyIndex))
		}
	}
	return index, nil
}

// find reports whether the transaction was done, by the mark it left, and its index.
func (s *Store) find(ctx context.Context, t txn) (store.Index, bool) {
	for _, key := range t.marked {
		var pair *consulapi.KVPair
		err := s.servers.ask(ctx, anytime, func(ctx context.Context, c *consulapi.Client) error {
			var err error
			pair, _, err = c.KV().Get(key, s.consistent(ctx))
			return err
		})
		if err != nil {
			return 0, false
		}
		if pair != nil && pair.Flags == t.mark {
			return store.Index(pair.ModifyIndex), true
		}
	}
	return 0, false
}

// refused turns the reasons why a transaction was rolled back into an error
// (agent/consul/state/txn.go and kvs.go, and preCheck of agent/consul/txn_endpoint.go).
func (v *servers) refused(reasons consulapi.TxnErrors) error {
	if len(reasons) == 0 {
		return fmt.Errorf("consul: %w, and it does not say why", errRolledBack)
	}
	// One reason is enough to undo all, and to be told.
	what := errors.New(strings.TrimSpace(reasons[0].What))
	switch text := what.Error(); {
	case isDenied(text):
		return v.denied(what)
	case strings.Contains(text, "invalid session"):
		return fmt.Errorf("%w: %w: %w", store.ErrLeaseLost, errRolledBack, what)
	case containsAny(text, "index is stale", "failed index check", "failed to check index", `" exists`, "already held"):
		return fmt.Errorf("%w: %w: %w", store.ErrConflict, errRolledBack, what)
	}
	return fmt.Errorf("%w: %w", errRolledBack, what)
}

func containsAny(s string, parts ...string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}
