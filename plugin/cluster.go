package plugin

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/overlay"
	"github.com/ournet/ournet/internal/backoff"
	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/underlay"
	"github.com/ournet/ournet/internal/version"
	"github.com/ournet/ournet/ipam"
	"github.com/ournet/ournet/plugin/names"
	"github.com/ournet/ournet/plugin/remotenames"
)

// clusterParts are what a host has for its cluster. It has them without one as well: it
// may have been in one before, and have networks of it.
type clusterParts struct {
	store   *gate
	servers []string // of the store
	cluster *cluster.Cluster
	// vteps are this host's addresses for packets between hosts.
	vteps atomic.Pointer[[]netip.Addr]
	// mendable says that what is wrong may mend itself: a device that is not there yet.
	mendable bool
	// moved is told why the tunnels have to be looked at.
	moved    func(cause string)
	overlays *overlay.Driver
	*membership

	propagator *propagator
	follower   *follower
}

// openCluster opens what the rest is opened on. Nothing is asked of anybody, and no
// mistake of a setting ends it.
func (p *parts) openCluster(ctx context.Context, host hostfs.FS) error {
	c := &clusterParts{}
	p.clusterParts = c
	own := []netip.Addr{}
	if p.cfg.Cluster.Store == "" {
		c.store = &gate{why: errNoCluster}
	} else if shared, servers, err := openShared(p.log, p.cfg.Cluster, host); err != nil {
		c.store = &gate{why: err}
	} else {
		c.store, c.servers = &gate{store: shared}, servers
		if own, err = underlay.Find(ctx, p.cfg.Cluster.Advertise, servers); err != nil {
			own = []netip.Addr{}
			c.store.why, c.mendable = oneLine(err), true
		}
	}
	c.vteps.Store(&own)
	if why := c.store.why; why != nil && p.cfg.Cluster.Store != "" {
		p.log.WithError(why).Error("this host takes no part in the cluster")
	}
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name of this host: %w", err)
	}
	c.cluster, err = cluster.Open(ctx, p.log, p.kv, c.store, cluster.Options{
		Host: cluster.Host{Name: name, VTEPs: own, Port: p.cfg.Cluster.VXLANPort, Version: version.Current},
		FreeHost: func(ctx context.Context, id cluster.HostID, while store.Op) error {
			return p.addresses.FreeHost(ctx, string(id), while)
		},
		Held: func() { p.addresses.Recheck() },
	})
	if err != nil {
		return err
	}
	c.overlays = overlay.New(p.log, p.cfg.Name, overlay.Kernel{Devices: p.devices, Rules: p.rules.Share()},
		overlay.Options{Port: p.cfg.Cluster.VXLANPort, VTEP: c.vtep}, overlayPeers{c.cluster, c.vtep})
	return nil
}

// vtep returns the address that this host sends from, which is not valid as long as
// there is none.
func (c *clusterParts) vtep() netip.Addr {
	if all := *c.vteps.Load(); len(all) > 0 {
		return all[0]
	}
	return netip.Addr{}
}

// sharedPools is what the address manager shares with other hosts, nil without a
// cluster.
func (p *parts) sharedPools() *ipam.ClusterStore {
	if p.cfg.Cluster.Store == "" {
		return nil
	}
	return &ipam.ClusterStore{
		KV: p.store, Host: string(p.cluster.Self().ID),
		Alive: func(host string) bool {
			h, ok := p.cluster.View().Host(cluster.HostID(host))
			return ok && !h.Suspect
		},
		InUse: func(subnet netip.Prefix) map[string][]netip.Addr { return addressesElsewhere(p.cluster.View(), subnet) },
	}
}

// addressesElsewhere returns the addresses of a subnet that containers of other hosts
// have, by host.
func addressesElsewhere(v *cluster.View, subnet netip.Prefix) map[string][]netip.Addr {
	all := make(map[string][]netip.Addr)
	for _, n := range v.Networks() {
		if !slices.ContainsFunc(n.Subnets, func(s cluster.Subnet) bool { return s.Pool == subnet }) {
			continue
		}
		for _, ep := range v.Endpoints(n.ID) {
			if ep.Host == v.Self() {
				continue
			}
			for _, a := range ep.Addrs {
				if subnet.Contains(a) {
					all[string(ep.Host)] = append(all[string(ep.Host)], a)
				}
			}
		}
	}
	return all
}

// joinCluster ties what was opened on the cluster's parts to them.
func (p *parts) joinCluster() {
	p.membership = &membership{
		fabric: &fabric{
			log: p.log, cluster: p.cluster, unusable: p.store.shut, pools: p.addresses.Pools, fitMTU: p.overlays.FitMTU,
			names: func(n driver.NetworkID, ep driver.EndpointID) (names.Known, bool) { return p.names.Of(n, ep) },
		},
		registrar: p.cluster, networks: p.networks, store: p.cfg.Cluster.Store, away: p.store.away,
	}
	p.follower = &follower{log: p.log, networks: p.networks, tunnels: p.overlays, arrived: make(chan struct{}, 1)}
	p.made = p.follower.Made
	p.propagator = newPropagator(p.log, p.engine, p.membership)
	p.propagator.name, p.propagator.pluginID, p.propagator.active = p.cfg.Name, p.id, p.cfg.Cluster.Propagate
	p.troubles = p.propagator.troubles
	p.follower.tell = p.propagator.tell
}

// runCluster takes part in the cluster until ctx ends.
func (p *parts) runCluster(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	changes := p.cluster.Changes()
	defer changes.Close()
	p.follower.names = remotenames.New(p.cluster, p.records)
	g.Go(func() error { return p.follower.follow(ctx, changes) })
	g.Go(func() error { return p.follower.welcome(ctx) })
	g.Go(func() error { return p.propagator.run(ctx) })
	g.Go(func() error {
		if !p.awaitAddress(ctx) {
			<-ctx.Done()
			return nil
		}
		g.Go(func() error { return untilDone(ctx, p.addresses.Run(ctx)) })
		g.Go(func() error { return p.followAddress(ctx) })
		return untilDone(ctx, p.cluster.Run(ctx))
	})
	return g.Wait()
}

// untilDone lets what runs end with its context.
func untilDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end that was asked for
	}
	return err
}

// awaitAddress returns whether this host can take part in the cluster, once it has the
// address for it: at boot the plugin may be there before the network is.
func (p *parts) awaitAddress(ctx context.Context) bool {
	if p.store.shut() == nil {
		return true
	}
	retry := backoff.Backoff{First: time.Second, Most: lookEvery}
	for failures := 0; p.mendable && retry.Wait(ctx, failures); failures++ {
		own, err := underlay.Find(ctx, p.cfg.Cluster.Advertise, p.servers)
		if err != nil {
			continue
		}
		p.vteps.Store(&own)
		p.cluster.SetVTEPs(own)
		p.store.open()
		p.log.WithFields(logrus.Fields{"addresses": own}).Info("this host takes part in the cluster now")
		return true
	}
	return false
}
