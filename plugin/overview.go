package plugin

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/overlay"
	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/plugin/remotenames"
)

// viewer has what is known of the cluster, in memory; *cluster.Cluster.
type viewer interface {
	View() *cluster.View
}

// overlayPeers tells the overlay driver what the cluster knows. A host that is suspect
// keeps its entries: it may have lost Consul and nothing else.
type overlayPeers struct {
	cluster viewer
	// own returns the address that this host sends from, which says the family of the
	// others' that it sends to.
	own func() netip.Addr
}

var _ overlay.Peers = overlayPeers{}

// Peers implements [overlay.Peers].
func (p overlayPeers) Peers(network string) []overlay.Peer {
	v := p.cluster.View()
	var (
		all  []overlay.Peer
		host cluster.HostID
		vtep netip.Addr
	)
	for _, ep := range v.Endpoints(cluster.NetworkID(network)) {
		if ep.Host == v.Self() {
			continue
		}
		if ep.Host != host { // they are in the order of their hosts
			host, vtep = ep.Host, p.vtep(v, ep.Host)
		}
		mac, err := driver.ParseMAC(ep.MAC)
		if err != nil || !vtep.IsValid() {
			continue // nothing can be sent to it
		}
		all = append(all, overlay.Peer{Addrs: ep.Addrs, MAC: mac, VTEP: vtep})
	}
	return all
}

// Members implements [overlay.Peers].
func (p overlayPeers) Members(network string) []netip.Addr {
	v := p.cluster.View()
	var all []netip.Addr
	for _, host := range v.Members(cluster.NetworkID(network)) {
		if vtep := p.vtep(v, host); vtep.IsValid() && host != v.Self() {
			all = append(all, vtep)
		}
	}
	return all
}

// VTEPs implements [overlay.Peers].
func (p overlayPeers) VTEPs() []netip.Addr {
	var all []netip.Addr
	for _, h := range p.cluster.View().Hosts() {
		all = append(all, h.VTEPs...)
	}
	return all
}

// vtep returns the address of a host that this one can send to.
func (p overlayPeers) vtep(v *cluster.View, id cluster.HostID) netip.Addr {
	h, ok := v.Host(id)
	own := p.own()
	if i := slices.IndexFunc(h.VTEPs, func(a netip.Addr) bool { return a.Is4() == own.Is4() }); ok && i >= 0 {
		return h.VTEPs[i]
	}
	return netip.Addr{}
}

// refresher brings news of the cluster to the tunnels; *overlay.Driver.
type refresher interface {
	Refresh(ctx context.Context, n driver.Network) error
	RefreshHosts(ctx context.Context) error
}

// changesOf tells what changed in the cluster; *cluster.Changes.
type changesOf interface {
	Wait(ctx context.Context) (cluster.Change, error)
}

// follower takes what changed in the cluster to those that it concerns.
type follower struct {
	log      logrus.FieldLogger
	networks NetworkLister
	tunnels  refresher
	names    *remotenames.Names
	// tell is told after each change that may concern networks as a whole.
	tell func()

	turn sync.Mutex // one change at a time

	mu sync.Mutex // guards made
	// made are networks that this host has since the last look: what others said of
	// them before, nobody here was told.
	made    []cluster.NetworkID
	arrived chan struct{} // has room for one
}

// Made says that this host has a network now. It waits for nobody.
func (f *follower) Made(n driver.Network) {
	id, ok := clusterID(n)
	if !ok {
		return
	}
	f.mu.Lock()
	f.made = append(f.made, id)
	f.mu.Unlock()
	select {
	case f.arrived <- struct{}{}:
	default: // it will be looked at anyway
	}
}

// welcome acts on networks that are made, until ctx ends.
func (f *follower) welcome(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.arrived:
		}
		f.mu.Lock()
		made := f.made
		f.made = nil
		f.mu.Unlock()
		f.act(ctx, cluster.Change{Networks: made})
	}
}

// follow acts on changes of the cluster until ctx ends.
func (f *follower) follow(ctx context.Context, changes changesOf) error {
	for {
		change, err := changes.Wait(ctx)
		if err != nil {
			return nil //nolint:nilerr // the end that was asked for
		}
		f.tell()
		f.act(ctx, change)
	}
}

// act takes a change to tunnels and names.
func (f *follower) act(ctx context.Context, change cluster.Change) {
	f.turn.Lock()
	defer f.turn.Unlock()
	if len(change.Hosts) > 0 {
		if err := f.tunnels.RefreshHosts(ctx); err != nil && ctx.Err() == nil {
			f.log.WithError(err).Warn("the next sweep lets in the hosts of the cluster")
		}
	}
	all := f.networks.All()
	f.names.SetHosts()
	f.names.KeepOnly(all)
	for _, n := range concerned(all, change) {
		f.names.SetNetwork(n.ID, cluster.NetworkID(n.Overlay.Cluster))
		if err := f.tunnels.Refresh(ctx, n); err != nil && ctx.Err() == nil {
			f.log.WithError(err).WithField("network", n.ID.Short()).Warn("the next sweep sets up what other hosts told")
		}
	}
}

// concerned returns the networks of this host that a change is about. One of a host is
// about all: any may have containers there.
func concerned(have []driver.Attached, change cluster.Change) []driver.Network {
	var all []driver.Network
	for _, a := range have {
		id, ok := clusterID(a.Network)
		if ok && (len(change.Hosts) > 0 || slices.Contains(change.Networks, id)) {
			all = append(all, a.Network)
		}
	}
	return all
}
