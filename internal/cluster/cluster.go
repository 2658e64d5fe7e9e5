// Package cluster is what this host knows of all hosts, their networks and their
// endpoints, and what it says of its own.
//
// It owns the records in the cluster store that are in internal/store/clusterkeys.go.
// It knows nothing of Docker, of the kernel, and of how addresses are chosen.
//
// What a host says of itself goes through the journal, so it is on this host's disk
// before it is said, and is said when the cluster store is there. What only one may
// do, to make a network, is done in the cluster store by CAS, and needs it. What was
// read is kept on this host's disk: with the cluster store away, also after a restart,
// the [View] is what it was.
//
// A host tells of each change by a short list of its last changes in one small key.
// All hosts wait for those keys, and fetch only what is named there and is of
// networks they take part in: the cost of a change does not grow with endpoints.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/journal"
	"github.com/ournet/ournet/internal/turn"
)

// The defaults of [Options].
const (
	// DefaultTTL is the least that Consul takes.
	DefaultTTL = 10 * time.Second
	// DefaultRemoval is how long a host that is not seen keeps what it has.
	DefaultRemoval = 24 * time.Hour
)

// Sentinel errors; test them with [errors.Is].
var (
	// ErrNotMember says that this host does not take part in a network.
	ErrNotMember = errors.New("this host does not take part in the network")
	// ErrUnknownNetwork says that there is no such network.
	ErrUnknownNetwork = errors.New("there is no such network in the cluster")
	// ErrUnknownHost says that there is no such host.
	ErrUnknownHost = errors.New("there is no such host in the cluster")
	// ErrHostAlive says that a host lives and so cannot be removed.
	ErrHostAlive = errors.New("the host is alive")
	// ErrContradiction says that a network exists and is otherwise than asked for.
	ErrContradiction = errors.New("differs from the cluster's")
	// ErrTaken says that something that only one network can have is another's.
	ErrTaken = errors.New("is taken")
)

// Store is the cluster store.
type Store interface {
	store.KV
	store.Leaser
}

// Options say who this host is, and how patient it is with others.
type Options struct {
	// Host is this host; its ID is given by [Open].
	Host Host
	// TTL is how long this host's lease outlives its last sign of life; 0 means
	// [DefaultTTL].
	TTL time.Duration
	// Removal is how long after a host was last seen it is removed; 0 means
	// [DefaultRemoval].
	Removal time.Duration
	// FreeHost frees what a host that is removed has beside the records of this
	// package, as long as the check while holds in the cluster store. It may be called
	// again for the same host. May be nil.
	FreeHost func(ctx context.Context, id HostID, while store.Op) error
	// Held is called when this host has given a sign of life again. Until then others
	// could free what it has, and from then on they cannot. May be nil.
	Held func()
}

// The turns that the methods of a [Cluster] take. Whoever takes both takes
// turnNetworks first.
const (
	// turnOwn is for what this host says.
	turnOwn = "what this host says"
	// turnNetworks is for joining networks.
	turnNetworks = "networks"
)

// Cluster is this host's part in the cluster. Its methods may be called from many
// goroutines, whether it runs or not.
type Cluster struct {
	log     logrus.FieldLogger
	local   store.KV
	shared  Store
	opts    Options
	self    HostID
	journal *journal.Journal
	turns   turn.Turns
	in      *inbox
	beat    chan struct{} // asks the lease to be looked at

	view atomic.Pointer[View]

	mu    sync.Mutex // guards all below; never held while a store is asked
	state state
	ring  ring // what this host changed last; changed only in turnOwn
	// dirty are keys of which the mirror has another value; nil is none.
	dirty map[string][]byte
	subs  map[*Changes]struct{}
}

// Open returns this host's part in the cluster, from what is in local, which also
// keeps its identity. It does not ask the cluster store.
func Open(ctx context.Context, log logrus.FieldLogger, local store.KV, shared Store, opts Options) (*Cluster, error) {
	if opts.TTL == 0 {
		opts.TTL = DefaultTTL
	}
	if opts.Removal == 0 {
		opts.Removal = DefaultRemoval
	}
	id, err := identity(ctx, local)
	if err != nil {
		return nil, fmt.Errorf("identity of this host: %w", err)
	}
	opts.Host.ID = id
	if err := opts.Host.check(); err != nil {
		return nil, fmt.Errorf("this host: %w", err)
	}
	c := &Cluster{
		log: log, local: local, shared: shared, opts: opts, self: id,
		journal: journal.New(log, local, shared, store.FenceKey(string(id))),
		in:      newInbox(), beat: make(chan struct{}, 1),
		state: newState(), dirty: make(map[string][]byte), subs: make(map[*Changes]struct{}),
	}
	if err := c.load(ctx); err != nil {
		return nil, fmt.Errorf("what was known of the cluster: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.host(id).Host = opts.Host
	c.publishLocked(touched{})
	return c, nil
}

// View returns what is known now. It does not change, and costs nothing.
func (c *Cluster) View() *View { return c.view.Load() }

// Run takes part in the cluster until ctx ends, whose error it returns. It goes on
// through every trouble of the cluster store, and ends early only with trouble of
// this host's own store.
func (c *Cluster) Run(ctx context.Context) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.journal.Run(ctx) })
	g.Go(func() error { return c.keepAlive(ctx) })
	for kind, prefix := range map[listingKind]string{
		listedChanges: store.ChangesPrefix(), listedNetworks: store.NetworksPrefix(), listedAlive: store.AlivePrefix(),
	} {
		g.Go(func() error {
			return store.Watch(ctx, c.shared, prefix, &watcher{log: c.log, in: c.in, kind: kind})
		})
	}
	g.Go(func() error { return newFeed(c).run(ctx) })
	return g.Wait()
}
