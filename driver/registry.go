package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/turn"
)

// undoTimeout bounds the taking back of a verb that failed half way, in addition
// to the verb's own deadline.
const undoTimeout = 2 * time.Second

// everything is the turn that all verbs share and [Registry.Reconcile] takes alone.
const everything = "all networks"

// Registry keeps the records of this host's networks and endpoints, durable
// before any verb returns, and tells the [Driver] of each network's type what
// the kernel should hold. Every verb may be repeated and gives the same answer;
// verbs on the same network or endpoint take turns.
type Registry struct {
	log     logrus.FieldLogger
	kv      store.KV
	drivers map[Type]Driver
	turns   turn.Turns
	ports   *portMemory

	unreadable []NetworkID // whose records were skipped; fixed once open

	mu       sync.RWMutex // guards networks; never held across I/O
	networks map[NetworkID]*networkEntry
}

type networkEntry struct {
	network   Network
	pending   bool // reserved by a CreateNetwork that is still under way
	endpoints map[EndpointID]Endpoint
	// unreadable are endpoints whose records were skipped.
	unreadable []EndpointID
}

// Open reads all records of this host from kv. It does not touch the kernel;
// call [Registry.Reconcile] for that. A record that cannot be read is skipped
// with a warning: one bad value must not keep every other network down. Nor is what
// it has in the kernel taken for left over.
func Open(ctx context.Context, kv store.KV, drivers map[Type]Driver, log logrus.FieldLogger) (*Registry, error) {
	r := &Registry{log: log, kv: kv, drivers: drivers, ports: newPortMemory(), networks: make(map[NetworkID]*networkEntry)}
	pairs, _, err := kv.List(ctx, store.LocalNetworksPrefix(), 0)
	if err != nil {
		return nil, fmt.Errorf("read network records: %w", err)
	}
	for _, p := range pairs {
		r.loadNetwork(p)
	}
	pairs, _, err = kv.List(ctx, store.LocalEndpointsPrefix(), 0)
	if err != nil {
		return nil, fmt.Errorf("read endpoint records: %w", err)
	}
	for _, p := range pairs {
		r.loadEndpoint(p)
	}
	pairs, _, err = kv.List(ctx, store.LocalPortsPrefix(), 0)
	if err != nil {
		return nil, fmt.Errorf("read records of ports: %w", err)
	}
	for _, p := range pairs {
		if err := r.ports.load(p); err != nil {
			log.WithError(err).WithField("key", p.Key).Warn("record of ports skipped")
		}
	}
	r.forgetStrayPorts(ctx)
	return r, nil
}

// forgetStrayPorts forgets the ports of networks that have no record: versions without
// that memory deleted networks and left it. What a later version wrote stays.
func (r *Registry) forgetStrayPorts(ctx context.Context) {
	for _, id := range r.ports.networks() {
		if _, known := r.networks[id]; known || slices.Contains(r.unreadable, id) {
			continue
		}
		ops, done := r.ports.forget(id)
		for some := range slices.Chunk(ops, 32) {
			if _, err := r.kv.Apply(ctx, some...); err != nil {
				r.log.WithError(err).WithField("network", id.Short()).Warn("ports of a network that is gone stay on record")
				break
			}
		}
		done()
	}
}

func (r *Registry) loadNetwork(p store.Pair) {
	n, err := decodeNetwork(p.Value)
	if err != nil {
		r.log.WithError(err).WithField("key", p.Key).Warn("network record skipped")
		if id := strings.TrimPrefix(p.Key, store.LocalNetworksPrefix()); ValidID(id) {
			r.unreadable = append(r.unreadable, NetworkID(id))
		}
		return
	}
	r.networks[n.ID] = &networkEntry{network: n, endpoints: make(map[EndpointID]Endpoint)}
}

func (r *Registry) loadEndpoint(p store.Pair) {
	ep, err := decodeEndpoint(p.Value)
	if err != nil {
		r.log.WithError(err).WithField("key", p.Key).Warn("endpoint record skipped")
		network, id, _ := strings.Cut(strings.TrimPrefix(p.Key, store.LocalEndpointsPrefix()), "/")
		if entry, ok := r.networks[NetworkID(network)]; ok && ValidID(id) {
			entry.unreadable = append(entry.unreadable, EndpointID(id))
		}
		return
	}
	entry, ok := r.networks[ep.Network]
	if !ok {
		r.log.WithField("key", p.Key).Warn("endpoint record of an unknown network skipped")
		return
	}
	entry.endpoints[ep.ID] = ep
}

// Network returns the record of a network.
func (r *Registry) Network(id NetworkID) (Network, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	entry, ok := r.networks[id]
	if !ok || entry.pending {
		return Network{}, false
	}
	return entry.network, true
}

// Endpoint returns the record of an endpoint.
func (r *Registry) Endpoint(network NetworkID, id EndpointID) (Endpoint, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	entry, ok := r.networks[network]
	if !ok {
		return Endpoint{}, false
	}
	ep, ok := entry.endpoints[id]
	return ep, ok
}

// All returns all networks with their endpoints, oldest network first.
func (r *Registry) All() []Attached {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []Attached
	for _, entry := range r.networks {
		if entry.pending {
			continue
		}
		eps := slices.SortedFunc(maps.Values(entry.endpoints), func(a, b Endpoint) int {
			return a.Created.Compare(b.Created)
		})
		all = append(all, Attached{Network: entry.network, Endpoints: eps, Unreadable: entry.unreadable})
	}
	slices.SortFunc(all, func(a, b Attached) int { return a.Network.Created.Compare(b.Network.Created) })
	return all
}

// CreateNetwork makes a network and its record. The same network again is
// success; the same id with other settings is [ErrExists].
func (r *Registry) CreateNetwork(ctx context.Context, n Network) error {
	d, ok := r.drivers[n.Options.Type]
	if !ok {
		return fmt.Errorf("create network: %w: type %q is not known", ErrOption, n.Options.Type)
	}
	done, err := r.takeNetwork(ctx, n.ID)
	if err != nil {
		return err
	}
	defer done()
	exists, err := r.reserve(d, n)
	if err != nil || exists {
		return err
	}
	if err := r.makeNetwork(ctx, d, n); err != nil {
		r.mu.Lock()
		delete(r.networks, n.ID)
		r.mu.Unlock()
		return fmt.Errorf("create network: %w", err)
	}
	r.mu.Lock()
	r.networks[n.ID].pending = false
	r.mu.Unlock()
	r.log.WithFields(logrus.Fields{"network": n.ID.Short(), "type": n.Options.Type}).Info("network created")
	return nil
}

// reserve judges n against every other network and enters it as pending, in one
// step, so that of two networks that overlap only one can get in.
func (r *Registry) reserve(d Driver, n Network) (exists bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if entry, ok := r.networks[n.ID]; ok {
		if sameNetwork(entry.network, n) {
			return true, nil
		}
		return false, fmt.Errorf("create network: id %s %w", n.ID.Short(), ErrExists)
	}
	have := make([]Network, 0, len(r.networks))
	for _, entry := range r.networks {
		have = append(have, entry.network)
	}
	if err := d.Check(n, have); err != nil {
		return false, fmt.Errorf("create network: %w", err)
	}
	r.networks[n.ID] = &networkEntry{network: n, pending: true, endpoints: make(map[EndpointID]Endpoint)}
	return false, nil
}

func (r *Registry) makeNetwork(ctx context.Context, d Driver, n Network) error {
	value, err := encodeNetwork(n)
	if err != nil {
		return err
	}
	key := store.LocalNetworkKey(string(n.ID))
	if _, err := r.kv.Apply(ctx, store.Set(key, value)); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if err := d.EnsureNetwork(ctx, n); err != nil {
		uctx, cancel := undoContext(ctx)
		defer cancel()
		rerr := d.RemoveNetwork(uctx, n)
		_, serr := r.kv.Apply(uctx, store.Delete(key))
		return errors.Join(err, rerr, serr)
	}
	return nil
}

// DeleteNetwork removes a network with whatever endpoints it still has. An
// unknown id is success. The engine forgets the network whatever we answer, so
// the record goes even if the kernel refuses something: the next
// [Registry.Reconcile] then removes what is left.
func (r *Registry) DeleteNetwork(ctx context.Context, id NetworkID) error {
	done, err := r.takeNetwork(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	r.mu.RLock()
	entry, ok := r.networks[id]
	var endpoints []Endpoint
	if ok {
		endpoints = slices.Collect(maps.Values(entry.endpoints))
	}
	r.mu.RUnlock()
	if !ok {
		return nil
	}
	n := entry.network
	d := r.drivers[n.Options.Type]
	log := r.log.WithField("network", id.Short())
	ops, forgotten := r.ports.forget(id)
	ops = append(ops, store.Delete(store.LocalNetworkKey(string(id))))
	for _, ep := range endpoints {
		if err := r.clearEndpoint(ctx, d, n, ep); err != nil {
			log.WithError(err).WithField("endpoint", ep.ID.Short()).Warn("endpoint left to the next sweep")
		}
		ops = append(ops, store.Delete(store.LocalEndpointKey(string(id), string(ep.ID))))
	}
	if err := d.RemoveNetwork(ctx, n); err != nil {
		log.WithError(err).Warn("devices or rules left to the next sweep")
	}
	if _, err := r.kv.Apply(ctx, ops...); err != nil {
		return fmt.Errorf("delete network %s: remove record: %w", id.Short(), err)
	}
	forgotten()
	r.mu.Lock()
	delete(r.networks, id)
	r.mu.Unlock()
	log.Info("network deleted")
	return nil
}

// Reconcile brings the kernel to what the records say, alone, and returns what
// had to be repaired.
func (r *Registry) Reconcile(ctx context.Context) ([]string, error) {
	done, err := r.turns.Take(ctx, everything)
	if err != nil {
		return nil, err
	}
	defer done()
	byType := make(map[Type][]Attached)
	for _, a := range r.All() {
		byType[a.Network.Options.Type] = append(byType[a.Network.Options.Type], a)
	}
	var (
		repairs []string
		errs    []error
	)
	for _, typ := range slices.Sorted(maps.Keys(r.drivers)) {
		did, err := r.drivers[typ].Reconcile(ctx, byType[typ], r.unreadable)
		repairs = append(repairs, did...)
		if err != nil {
			errs = append(errs, fmt.Errorf("reconcile %s networks: %w", typ, err))
		}
	}
	return repairs, errors.Join(errs...)
}

// takeNetwork waits for the only turn at a network.
func (r *Registry) takeNetwork(ctx context.Context, id NetworkID) (func(), error) {
	all, err := r.turns.Share(ctx, everything)
	if err != nil {
		return nil, err
	}
	one, err := r.turns.Take(ctx, "network "+string(id))
	if err != nil {
		all()
		return nil, err
	}
	return func() { one(); all() }, nil
}

// sameNetwork compares all but the time of the request.
func sameNetwork(a, b Network) bool {
	a.Created, b.Created = time.Time{}, time.Time{}
	return reflect.DeepEqual(a, b)
}

// undoContext outlives the verb's deadline by a little, so that a verb that ran
// out of time still leaves nothing half-made.
func undoContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
}
