// Package consul is a [store.KV] and [store.Leaser] in Consul, shared by all hosts
// of a cluster. It knows how to keep speaking to Consul while servers come and go,
// and what of Consul's ways has to be hidden to meet the contract:
//
//   - Consul skips a write that changes nothing, so the key would keep its index.
//     Every write carries a random number in the key's flags: it is always a
//     change, and it tells afterwards whose write a key has.
//   - A transaction that only deletes says nothing of its index. It writes its
//     first key before it deletes it, and so learns the index.
//   - A prefix without keys has the index of all keys, so a wait for its first key
//     ends with every write of anybody. We remember which prefixes have none.
//   - A list leaves out what the token may not read. What is hidden would look
//     deleted, so a list that could hide something is an error.
//
// Reads are consistent: the leader asks the others whether it still leads, so they
// see every acknowledged write; and they see what a wait has told of, see [horizon].
// Waits are stale: any server answers them out of what it has, so they neither load
// the leader nor end with it.
package consul

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/store"
)

// Store is a [store.KV] and [store.Leaser] in Consul.
type Store struct {
	cfg     Config
	prefix  string // what every key of ours begins with in Consul, with its slash
	token   *token
	servers *servers
	empty   empties
	horizon horizon

	mu     sync.Mutex // guards all below
	leases map[string]*lease
	closed bool
	keep   sync.WaitGroup // the goroutines of the leases
}

var (
	_ store.KV     = (*Store)(nil)
	_ store.Leaser = (*Store)(nil)
)

// New returns the store in the Consul of cfg. It reads certificates and token, and
// asks Consul nothing yet: Consul may be away when ournet starts.
func New(log logrus.FieldLogger, cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	tok, err := newToken(cfg)
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	servers, err := newServers(log, cfg)
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	return &Store{
		cfg:     cfg,
		prefix:  cfg.Prefix + "/",
		token:   tok,
		servers: servers,
		leases:  make(map[string]*lease),
	}, nil
}

// Get implements [store.KV].
func (s *Store) Get(ctx context.Context, key string) (store.Pair, error) {
	var found *consulapi.KVPair
	err := s.read(ctx, func(ctx context.Context) (index store.Index, err error) {
		found, index, err = s.get(ctx, s.prefix+key)
		return index, err
	})
	if err != nil {
		return store.Pair{}, fmt.Errorf("get %q: %w", key, err)
	}
	if found == nil || found.Key != s.prefix+key {
		return store.Pair{}, fmt.Errorf("get %q: %w", key, store.ErrNotFound)
	}
	return s.pair(found), nil
}

// get asks the leader for a key, nil if it is not there.
func (s *Store) get(ctx context.Context, key string) (*consulapi.KVPair, store.Index, error) {
	var (
		found *consulapi.KVPair
		meta  *consulapi.QueryMeta
	)
	err := s.servers.ask(ctx, anytime, func(ctx context.Context, c *consulapi.Client) error {
		var err error
		found, meta, err = c.KV().Get(key, s.consistent(ctx))
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return found, store.Index(meta.LastIndex), nil
}

// List implements [store.KV].
func (s *Store) List(ctx context.Context, prefix string, after store.Index) ([]store.Pair, store.Index, error) {
	pairs, index, err := s.list(ctx, prefix, after)
	if err != nil {
		return nil, 0, fmt.Errorf("list %q: %w", prefix, err)
	}
	s.empty.note(prefix, index, pairs)
	return pairs, index, nil
}

func (s *Store) list(ctx context.Context, prefix string, after store.Index) ([]store.Pair, store.Index, error) {
	for after > 0 {
		pairs, index, err := s.wait(ctx, prefix, after)
		if err == nil && index > after && s.empty.still(prefix, after, index, pairs) {
			after = index
			continue
		}
		switch {
		case ctx.Err() != nil:
			return nil, 0, fmt.Errorf("wait for a change after %d: %w", after, ctx.Err())
		case errors.Is(err, store.ErrUnavailable):
			// Whoever answers next may know of more, or, if Consul was wiped
			// meanwhile, of less.
			return s.now(ctx, prefix)
		case err != nil:
			return nil, 0, err
		case index > after:
			return pairs, index, nil
		case index < after:
			// This server lags, or Consul has forgotten deletions (it does after
			// 15 minutes), or all: the leader knows.
			return s.now(ctx, prefix)
		}
	}
	return s.now(ctx, prefix)
}

// wait asks one server once for a change after an index, for a limited time.
func (s *Store) wait(ctx context.Context, prefix string, after store.Index) ([]store.Pair, store.Index, error) {
	var (
		pairs consulapi.KVPairs
		meta  *consulapi.QueryMeta
	)
	err := s.servers.wait(ctx, func(ctx context.Context, c *consulapi.Client) error {
		opts := &consulapi.QueryOptions{AllowStale: true, WaitIndex: uint64(after), WaitTime: s.cfg.Wait, Token: s.token.get()}
		var err error
		pairs, meta, err = c.KV().List(s.prefix+prefix, opts.WithContext(ctx))
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	s.horizon.see(store.Index(meta.LastIndex))
	return s.visible(ctx, prefix, pairs, meta)
}

// now lists what every acknowledged write made, and every one that a wait has told of.
func (s *Store) now(ctx context.Context, prefix string) ([]store.Pair, store.Index, error) {
	var (
		pairs consulapi.KVPairs
		meta  *consulapi.QueryMeta
	)
	err := s.read(ctx, func(ctx context.Context) (store.Index, error) {
		err := s.servers.ask(ctx, anytime, func(ctx context.Context, c *consulapi.Client) error {
			var err error
			pairs, meta, err = c.KV().List(s.prefix+prefix, s.consistent(ctx))
			return err
		})
		if err != nil {
			return 0, err
		}
		return store.Index(meta.LastIndex), nil
	})
	if err != nil {
		return nil, 0, err
	}
	return s.visible(ctx, prefix, pairs, meta)
}

// visible returns a list's answer if nothing was left out of it.
func (s *Store) visible(ctx context.Context, prefix string, found consulapi.KVPairs, meta *consulapi.QueryMeta) ([]store.Pair, store.Index, error) {
	if meta.ResultsFilteredByACLs {
		return nil, 0, s.servers.denied(errors.New("it left keys out of a list"))
	}
	// Without a token Consul does not even say that it left something out
	// (agent/consul/acl.go, maskResultsFilteredByACLs); a single key it refuses.
	if len(found) == 0 {
		probe := s.prefix + strings.TrimSuffix(prefix, "/")
		err := s.servers.ask(ctx, anytime, func(ctx context.Context, c *consulapi.Client) error {
			opts := &consulapi.QueryOptions{AllowStale: true, Token: s.token.get()}
			_, _, err := c.KV().Get(strings.TrimSuffix(probe, "/")+"/", opts.WithContext(ctx))
			return err
		})
		if err != nil {
			return nil, 0, err
		}
	}
	pairs := make([]store.Pair, 0, len(found))
	for _, p := range found {
		pairs = append(pairs, s.pair(p))
	}
	return pairs, store.Index(meta.LastIndex), nil
}

// Close stops the renewing of leases, which Consul ends when their time has passed,
// and the connections. The store must not be used any more.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, l := range s.leases {
		l.stop()
	}
	s.mu.Unlock()
	s.keep.Wait()
	s.servers.close()
	return nil
}

func (s *Store) consistent(ctx context.Context) *consulapi.QueryOptions {
	opts := &consulapi.QueryOptions{RequireConsistent: true, Token: s.token.get()}
	return opts.WithContext(ctx)
}

func (s *Store) pair(p *consulapi.KVPair) store.Pair {
	value := p.Value
	if value == nil {
		value = []byte{}
	}
	return store.Pair{
		Key:   strings.TrimPrefix(p.Key, s.prefix),
		Value: value,
		Index: store.Index(p.ModifyIndex),
		Lease: p.Session,
	}
}
