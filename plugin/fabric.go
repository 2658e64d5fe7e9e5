package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/internal/turn"
	"github.com/ournet/ournet/ipam"
	"github.com/ournet/ournet/plugin/names"
)

// joinTime is what making a network known to the cluster may take of a verb's time;
// the rest is for the kernel and for taking it back.
const joinTime = 3 * time.Second

// Fabric ties networks and endpoints to the cluster that the host is in. It does nothing
// for networks of this host alone. What it is told of endpoints is said to the cluster
// later if need be, so that containers come and go while the cluster store is away.
type Fabric interface {
	// Join makes the host take part in the network, which is made if the cluster has
	// none of its subnet, and returns it with what the cluster says of it.
	Join(ctx context.Context, n driver.Network) (driver.Network, error)
	// Made says that the host has the network now.
	Made(n driver.Network)
	// Leave ends that. If a user removed the network, all hosts are to remove it.
	Leave(ctx context.Context, n driver.Network) error
	// Lost says that the engine has lost the network, which is not what a user wanted.
	Lost(id driver.NetworkID)
	// Announce tells the other hosts of an endpoint, Withdraw that it is gone.
	Announce(ctx context.Context, n driver.Network, ep driver.Endpoint) error
	Withdraw(ctx context.Context, n driver.Network, id driver.EndpointID) error
}

// members is the part of *cluster.Cluster that networks and endpoints are told to.
type members interface {
	viewer
	JoinNetwork(ctx context.Context, spec cluster.NetworkSpec) (cluster.Network, error)
	LeaveNetwork(ctx context.Context, id cluster.NetworkID, removed bool) error
	Announce(ctx context.Context, ep cluster.Endpoint) error
	Withdraw(ctx context.Context, network cluster.NetworkID, id cluster.EndpointID) error
	Sync(ctx context.Context, all []cluster.Endpoint) error
}

// fabric is the [Fabric] of a host that is in a cluster, or was.
type fabric struct {
	log     logrus.FieldLogger
	cluster members
	// unusable returns why nothing new can be had of the cluster, nil if it can.
	unusable func() error
	// pools tells which pools the cluster's hosts share.
	pools func() []ipam.PoolInfo
	// names tells what is known of an endpoint beyond its record, if anything is.
	names func(driver.NetworkID, driver.EndpointID) (names.Known, bool)
	// made is told of each network of the cluster that this host has now.
	made func(driver.Network)
	// fitMTU returns the MTU that a network can have here, for the one asked for.
	fitMTU func(asked int) (int, error)

	// turns has what the cluster is told of endpoints told one after the other, each as
	// the records are when its turn comes: what was read before may have changed, and
	// who changed it may have told of it.
	turns turn.Turns

	mu sync.Mutex // guards all below
	// fresh are networks that the engine is not known to have for good: if it has one
	// removed, that may be the end of a creation that failed.
	fresh map[driver.NetworkID]bool // made when first needed
	// givenUp are networks that this host gives up for others of their names.
	givenUp map[driver.NetworkID]bool // made when first needed
}

var _ Fabric = (*fabric)(nil)

// clusterID returns the cluster's id of a network, and whether it has one.
func clusterID(n driver.Network) (cluster.NetworkID, bool) {
	if n.Overlay == nil {
		return "", false
	}
	return cluster.NetworkID(n.Overlay.Cluster), true
}

// Join implements [Fabric].
func (f *fabric) Join(ctx context.Context, n driver.Network) (driver.Network, error) {
	if n.Options.Type != driver.TypeOverlay {
		return n, nil
	}
	if err := f.unusable(); err != nil {
		return n, fmt.Errorf("an overlay network needs the cluster: %w", err)
	}
	if err := f.checkPools(n); err != nil {
		return n, err
	}
	mtu, err := f.fitMTU(n.Options.MTU)
	if err != nil {
		return n, err
	}
	f.doubt(n.ID)
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	spec := f.specOf(n, mtu)
	made, err := f.cluster.JoinNetwork(ctx, spec)
	if errors.Is(err, cluster.ErrContradiction) && n.Options.MTU == 0 {
		// Another host made it, whose way to the others takes packets of another size.
		spec.MTU = 0
		made, err = f.cluster.JoinNetwork(ctx, spec)
	}
	if err != nil {
		return n, fmt.Errorf("make the network known to the cluster: %w", err)
	}
	n.Overlay = &driver.Overlay{Cluster: string(made.ID), VNI: made.VNI, MTU: made.MTU}
	return n, nil
}

// checkPools refuses addresses that another host may give out as well.
func (f *fabric) checkPools(n driver.Network) error {
	all := f.pools()
	for _, s := range n.Subnets {
		id := ipam.NewPoolID(ipam.SpaceCluster, s.Pool)
		if !slices.ContainsFunc(all, func(p ipam.PoolInfo) bool { return p.ID == id }) {
			return fmt.Errorf("%w %s=%s: the addresses of %s are of this host alone, and other hosts would give out the same; add --ipam-driver ournet, without --ipam-opt scope=host",
				driver.ErrOption, driver.OptType, driver.TypeOverlay, s.Pool)
		}
	}
	return nil
}

// specOf is what the cluster is to know of a network of this host.
func (f *fabric) specOf(n driver.Network, mtu int) cluster.NetworkSpec {
	ranges := make(map[netip.Prefix]netip.Prefix)
	for _, p := range f.pools() {
		ranges[p.Subnet] = p.Range
	}
	spec := cluster.NetworkSpec{
		ID: cluster.NetworkID(n.ID), VNI: n.Options.VNI, MTU: mtu, Internal: n.Internal, IPv4: n.HasIPv4(), IPv6: n.HasIPv6(),
	}
	for _, s := range n.Subnets {
		spec.Subnets = append(spec.Subnets, cluster.Subnet{Pool: s.Pool, Range: ranges[s.Pool], Gateway: s.Gateway.Addr(), Aux: maps.Clone(s.Aux)})
	}
	return spec
}

// Made implements [Fabric].
func (f *fabric) Made(n driver.Network) { f.made(n) }

// Leave implements [Fabric]. Of a network that was never there for good, only that this
// host takes no part is said, unless nobody else has heard of it.
func (f *fabric) Leave(ctx context.Context, n driver.Network) error {
	id, ok := clusterID(n)
	if !ok {
		return nil
	}
	f.mu.Lock()
	removed := !f.fresh[n.ID] && !f.givenUp[n.ID]
	f.mu.Unlock()
	v := f.cluster.View()
	if known, ok := v.Network(id); ok && !known.Complete && len(v.Members(id)) == 1 {
		removed = true
	}
	if err := f.cluster.LeaveNetwork(ctx, id, removed); err != nil {
		return fmt.Errorf("tell the cluster that network %s is gone from this host: %w", driver.NetworkID(id).Short(), err)
	}
	f.giveUp(n.ID, false)
	return nil
}

// Lost implements [Fabric].
func (f *fabric) Lost(id driver.NetworkID) { f.doubt(id) }

// doubt notes that the engine is not known to have a network for good.
func (f *fabric) doubt(id driver.NetworkID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fresh == nil {
		f.fresh = make(map[driver.NetworkID]bool)
	}
	f.fresh[id] = true
}

// known implements [sharing].
func (f *fabric) known(ids ...driver.NetworkID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		delete(f.fresh, id)
	}
}

// giveUp implements [sharing].
func (f *fabric) giveUp(id driver.NetworkID, yes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.givenUp == nil {
		f.givenUp = make(map[driver.NetworkID]bool)
	}
	if yes {
		f.givenUp[id] = true
	} else {
		delete(f.givenUp, id)
	}
}

// Announce implements [Fabric].
func (f *fabric) Announce(ctx context.Context, n driver.Network, ep driver.Endpoint) error {
	if _, ok := clusterID(n); !ok {
		return nil
	}
	err := f.inTurn(ctx, func() error { return f.cluster.Announce(ctx, f.endpoint(n, ep)) })
	if err != nil {
		return fmt.Errorf("tell the cluster of endpoint %s: %w", ep.ID.Short(), err)
	}
	return nil
}

// Withdraw implements [Fabric].
func (f *fabric) Withdraw(ctx context.Context, n driver.Network, id driver.EndpointID) error {
	network, ok := clusterID(n)
	if !ok {
		return nil
	}
	err := f.inTurn(ctx, func() error { return f.cluster.Withdraw(ctx, network, cluster.EndpointID(id)) })
	if err != nil {
		return fmt.Errorf("tell the cluster that endpoint %s is gone: %w", id.Short(), err)
	}
	return nil
}

// inTurn tells the cluster of endpoints when nobody else does.
func (f *fabric) inTurn(ctx context.Context, tell func() error) error {
	done, err := f.turns.Take(ctx, "what the cluster is told of endpoints")
	if err != nil {
		return err
	}
	defer done()
	return tell()
}

// sync tells the cluster of all endpoints that have joined, and of no others.
func (f *fabric) sync(ctx context.Context, networks NetworkLister) error {
	err := f.inTurn(ctx, func() error { return f.cluster.Sync(ctx, f.joined(networks.All())) })
	if err != nil {
		return fmt.Errorf("tell the cluster of this host's endpoints: %w", err)
	}
	return nil
}

// joined returns what the cluster is to know.
func (f *fabric) joined(have []driver.Attached) []cluster.Endpoint {
	var all []cluster.Endpoint
	for _, a := range have {
		if _, ok := clusterID(a.Network); !ok {
			continue
		}
		for _, ep := range a.Endpoints {
			if ep.SandboxKey != "" {
				all = append(all, f.endpoint(a.Network, ep))
			}
		}
	}
	return all
}

// endpoint is what the cluster is to know of an endpoint.
func (f *fabric) endpoint(n driver.Network, ep driver.Endpoint) cluster.Endpoint {
	id, _ := clusterID(n)
	// What is not known yet is told when it is learned.
	known, ok := f.names(ep.Network, ep.ID)
	if !ok {
		known.Addrs = ep.Addrs()
	}
	return cluster.Endpoint{
		Network: id, ID: cluster.EndpointID(ep.ID), Addrs: known.Addrs, MAC: ep.MAC.String(), Name: known.Name, Aliases: known.Aliases,
	}
}

// noFabric is the [Fabric] of a host that never was in a cluster.
type noFabric struct{}

// Join implements [Fabric].
func (noFabric) Join(_ context.Context, n driver.Network) (driver.Network, error) {
	if n.Options.Type != driver.TypeOverlay {
		return n, nil
	}
	return n, fmt.Errorf("an overlay network needs the cluster: %w", errNoCluster)
}

// Made implements [Fabric].
func (noFabric) Made(driver.Network) {}

// Leave implements [Fabric].
func (noFabric) Leave(context.Context, driver.Network) error { return nil }

// Lost implements [Fabric].
func (noFabric) Lost(driver.NetworkID) {}

// Announce implements [Fabric].
func (noFabric) Announce(context.Context, driver.Network, driver.Endpoint) error { return nil }

// Withdraw implements [Fabric].
func (noFabric) Withdraw(context.Context, driver.Network, driver.EndpointID) error { return nil }
