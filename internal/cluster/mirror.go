package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/ournet/ournet/internal/store"
)

// atOnce is how many ops every store takes in one transaction.
const atOnce = 32

// load reads what this host says and what it saw last. What this version cannot read
// is left out with one warning: it is read from the cluster store again.
func (c *Cluster) load(ctx context.Context) error {
	own, _, err := c.local.List(ctx, store.LocalOwnPrefix(), 0)
	if err != nil {
		return err
	}
	seen, _, err := c.local.List(ctx, store.LocalSeenPrefix(), 0)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var bad []error
	// Members come before endpoints, and what this host says decides which networks
	// it takes part in.
	for _, p := range own {
		bad = append(bad, c.loadKeyLocked(strings.TrimPrefix(p.Key, store.LocalOwnPrefix()), p.Value, true))
	}
	for _, p := range seen {
		bad = append(bad, c.loadKeyLocked(strings.TrimPrefix(p.Key, store.LocalSeenPrefix()), p.Value, false))
	}
	if c.ring.Epoch == "" {
		c.ring = newEpoch()
	}
	if err := errors.Join(bad...); err != nil {
		c.log.WithField("err", err).Warn("some of what was kept of the cluster cannot be read")
	}
	return nil
}

// loadKeyLocked takes one key over.
func (c *Cluster) loadKeyLocked(key string, value []byte, own bool) error {
	switch {
	case strings.HasPrefix(key, store.EndpointsPrefix()):
		return c.loadPartLocked(key, value, own)
	case strings.HasPrefix(key, store.NetworksPrefix()):
		network, remover, _ := store.SplitNetworkKey(key)
		if remover != "" {
			r, err := decode[removal](value)
			if err == nil {
				c.state.setRemoval(NetworkID(network), HostID(remover), &r)
			}
			return err
		}
		n, err := decode[Network](value)
		if err == nil {
			c.state.networks[n.ID] = n
		}
		return err
	case strings.HasPrefix(key, store.ChangesPrefix()):
		r, err := decode[ring](value)
		if id := HostID(strings.TrimPrefix(key, store.ChangesPrefix())); err == nil && own {
			c.ring = r
		} else if err == nil {
			c.state.host(id).followed = r
		}
		return err
	case strings.HasPrefix(key, store.HostsPrefix()):
		h, err := decode[Host](value)
		if err == nil && h.ID != c.self {
			c.state.host(h.ID).Host = h
		}
		return err
	case strings.HasPrefix(key, store.SuspectsPrefix()):
		s, err := decode[suspicion](value)
		if err == nil {
			h := c.state.host(HostID(strings.TrimPrefix(key, store.SuspectsPrefix())))
			h.suspect, h.suspicion = true, s
		}
		return err
	}
	return nil
}

func (c *Cluster) loadPartLocked(key string, value []byte, own bool) error {
	network, host, endpoint, ok := store.SplitEndpointKey(key)
	if !ok || own != (HostID(host) == c.self) {
		return nil
	}
	p := c.state.parts[NetworkID(network)]
	switch {
	case endpoint == "" && own && p == nil:
		p = newPart()
	case p == nil:
		return nil // this host left it
	}
	if endpoint == "" {
		m, err := decode[member](value)
		if err == nil {
			c.state.parts[NetworkID(network)] = p.withMember(HostID(host), &m)
		}
		return err
	}
	e, err := decode[Endpoint](value)
	if err == nil {
		e.Network, e.Host, e.ID = NetworkID(network), HostID(host), EndpointID(endpoint)
		c.state.parts[NetworkID(network)] = p.withEndpoint(e, true)
	}
	return err
}

// flush brings the mirror up to date. Up to where a host's changes were followed is
// written after what they brought, so a crash between costs another look, no more.
func (c *Cluster) flush(ctx context.Context) error {
	c.mu.Lock()
	dirty := c.dirty
	c.dirty = make(map[string][]byte)
	c.mu.Unlock()
	var first, last []store.Op
	for _, key := range slices.Sorted(maps.Keys(dirty)) {
		op := store.Delete(key)
		if value := dirty[key]; value != nil {
			op = store.Set(key, value)
		}
		if strings.HasPrefix(key, store.LocalSeenKey(store.ChangesPrefix())) {
			last = append(last, op)
		} else {
			first = append(first, op)
		}
	}
	for batch := range slices.Chunk(append(first, last...), atOnce) {
		if _, err := c.local.Apply(ctx, batch...); err != nil {
			return err
		}
	}
	return nil
}
