package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	netapi "github.com/docker/go-plugins-helpers/network"
	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/turn"
	"github.com/ournet/ournet/ipam"
)

// undoTime bounds the taking back of what a failed verb did, beyond its deadline.
const undoTime = 2 * time.Second

// Networks keeps networks and endpoints, *driver.Registry. Every verb may be
// repeated; those that remove succeed for unknown ids.
type Networks interface {
	NetworkKeeper
	NetworkLister
	EndpointKeeper
	Attacher
}

// NetworkKeeper makes and removes networks.
type NetworkKeeper interface {
	CreateNetwork(ctx context.Context, n driver.Network) error
	DeleteNetwork(ctx context.Context, id driver.NetworkID) error
	Network(id driver.NetworkID) (driver.Network, bool)
}

// EndpointKeeper makes and removes endpoints.
type EndpointKeeper interface {
	// CreateEndpoint returns the endpoint with its MAC address filled in.
	CreateEndpoint(ctx context.Context, ep driver.Endpoint) (driver.Endpoint, error)
	DeleteEndpoint(ctx context.Context, network driver.NetworkID, id driver.EndpointID) error
	Endpoint(network driver.NetworkID, id driver.EndpointID) (driver.Endpoint, bool)
}

// Attacher puts endpoints into sandboxes and their ports on the host.
type Attacher interface {
	Join(ctx context.Context, network driver.NetworkID, id driver.EndpointID, sandboxKey string) (driver.Attachment, error)
	Leave(ctx context.Context, network driver.NetworkID, id driver.EndpointID) error
	Publish(ctx context.Context, network driver.NetworkID, id driver.EndpointID, bindings []driver.Binding) error
	Unpublish(ctx context.Context, network driver.NetworkID, id driver.EndpointID) error
}

// networkVerbs answers NetworkDriver.* by translating between the wire and
// [Networks], and ties the pools and addresses of our own address manager to the
// networks and endpoints that use them.
type networkVerbs struct {
	log       logrus.FieldLogger
	networks  Networks
	addresses Addresses
	fabric    Fabric
	names     nameVerbs
	rivals    *rivals
	now       func() time.Time
	// turns keeps a repeated request from undoing what the first one, still
	// under way, has just bound. Taken before any turn of the registry's.
	turns turn.Turns
}

func (v *networkVerbs) register(h *Handler) {
	route(h, "NetworkDriver.GetCapabilities", bodyIgnored, v.capabilities)
	route(h, "NetworkDriver.GwAllocCheck", bodyIgnored, v.gatewayCheck)
	route(h, "NetworkDriver.AllocateNetwork", bodyIgnored, v.allocateNetwork)
	route(h, "NetworkDriver.FreeNetwork", bodyIgnored, v.freeNetwork)
	route(h, "NetworkDriver.CreateNetwork", bodyRequired, v.createNetwork)
	route(h, "NetworkDriver.DeleteNetwork", bodyRequired, v.deleteNetwork)
	route(h, "NetworkDriver.CreateEndpoint", bodyRequired, v.createEndpoint)
	route(h, "NetworkDriver.DeleteEndpoint", bodyRequired, v.deleteEndpoint)
	route(h, "NetworkDriver.EndpointOperInfo", bodyIgnored, v.endpointInfo)
	route(h, "NetworkDriver.Join", bodyRequired, v.join)
	route(h, "NetworkDriver.Leave", bodyRequired, v.leave)
	route(h, "NetworkDriver.ProgramExternalConnectivity", bodyRequired, v.publish)
	route(h, "NetworkDriver.RevokeExternalConnectivity", bodyRequired, v.unpublish)
	route(h, "NetworkDriver.DiscoverNew", bodyIgnored, v.discover)
	route(h, "NetworkDriver.DiscoverDelete", bodyIgnored, v.discover)
}

// networkCapabilities has the field that netapi's type lacks.
type networkCapabilities struct {
	netapi.CapabilitiesResponse
	// GwAllocChecker asks for GwAllocCheck before each network create. It could
	// save the gateway's address of an internal network, but an address that is
	// kept on Engine 20.10, which never asks, should be kept on 29 as well.
	GwAllocChecker bool
}

// capabilities answers the scope "local": a driver of scope "global" works with
// Swarm alone, and telling the cluster's hosts of a network is our own business.
func (v *networkVerbs) capabilities(context.Context, *struct{}) (networkCapabilities, error) {
	return networkCapabilities{CapabilitiesResponse: netapi.CapabilitiesResponse{Scope: netapi.LocalScope}}, nil
}

type gatewayCheckResponse struct {
	SkipIPv4, SkipIPv6 bool
}

func (v *networkVerbs) gatewayCheck(context.Context, *struct{}) (gatewayCheckResponse, error) {
	return gatewayCheckResponse{}, nil
}

// errLocalScope answers what only a Swarm manager asks, and only of a driver of
// global scope.
var errLocalScope = errors.New("ournet networks have the scope local: Swarm cannot allocate them")

func (v *networkVerbs) allocateNetwork(context.Context, *struct{}) (struct{}, error) {
	return struct{}{}, errLocalScope
}

func (v *networkVerbs) freeNetwork(context.Context, *struct{}) (struct{}, error) {
	return struct{}{}, errLocalScope
}

// discover hears of Swarm's nodes, which are not our hosts.
func (v *networkVerbs) discover(context.Context, *struct{}) (struct{}, error) { return struct{}{}, nil }

// createNetwork binds the pools before it makes the network, so that there never
// is a network whose pool the address manager may give away; and it makes the network
// known to the cluster before, because that says what the network is like.
func (v *networkVerbs) createNetwork(ctx context.Context, req *createNetworkRequest) (struct{}, error) {
	n, err := parseNetwork(req)
	if err != nil {
		return struct{}{}, err
	}
	n.Created = v.now().UTC()
	done, err := v.turns.Take(ctx, string(n.ID))
	if err != nil {
		return struct{}{}, err
	}
	defer done()
	have, exists := v.networks.Network(n.ID)
	for _, pool := range ownPools(n) {
		if err := v.addresses.BindPool(pool, string(n.ID)); err != nil {
			return struct{}{}, errors.Join(fmt.Errorf("bind pool %s: %w", pool, err), v.unbindPools(ctx, n, have))
		}
	}
	if exists {
		n.Overlay = have.Overlay // a request that is repeated asks the cluster nothing
	} else if n, err = v.fabric.Join(ctx, n); err != nil {
		return struct{}{}, errors.Join(err, v.unbindPools(ctx, n, have))
	}
	if err := v.networks.CreateNetwork(ctx, n); err != nil {
		if !exists {
			err = errors.Join(err, v.leaveFabric(ctx, n))
		}
		return struct{}{}, errors.Join(err, v.unbindPools(ctx, n, have))
	}
	for _, pool := range ownPools(n) {
		v.rivals.becomes(string(n.ID), string(pool))
	}
	v.names.SetNetwork(n)
	v.fabric.Made(n)
	return struct{}{}, nil
}

// leaveFabric takes back what made the network known to the cluster.
func (v *networkVerbs) leaveFabric(ctx context.Context, n driver.Network) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	return v.fabric.Leave(ctx, n)
}

// unbindPools lets go of the pools of n, but for those that keep has as well.
func (v *networkVerbs) unbindPools(ctx context.Context, n, keep driver.Network) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	kept := ownPools(keep)
	var errs []error
	for _, pool := range ownPools(n) {
		if slices.Contains(kept, pool) {
			continue
		}
		if err := v.addresses.UnbindPool(ctx, pool, string(n.ID)); err != nil {
			errs = append(errs, fmt.Errorf("unbind pool %s: %w", pool, err))
		}
	}
	return errors.Join(errs...)
}

func (v *networkVerbs) deleteNetwork(ctx context.Context, req *netapi.DeleteNetworkRequest) (struct{}, error) {
	id, err := parseNetworkID(req.NetworkID)
	if err != nil {
		return struct{}{}, nil //nolint:nilerr // what has no valid id was never made
	}
	v.rivals.becomes("", req.NetworkID)
	return struct{}{}, v.dropNetwork(ctx, id)
}

// dropNetwork removes a network and lets go of its pools. The cluster is told first: of
// a network that is gone here and not there the next look at the cluster would make
// another.
func (v *networkVerbs) dropNetwork(ctx context.Context, id driver.NetworkID) error {
	done, err := v.turns.Take(ctx, string(id))
	if err != nil {
		return err
	}
	defer done()
	n, _ := v.networks.Network(id)
	if err := v.fabric.Leave(ctx, n); err != nil {
		return err
	}
	v.names.RemoveNetwork(id)
	if err := unlessUnknown(v.networks.DeleteNetwork(ctx, id)); err != nil {
		return err // still on record, so its pools stay bound
	}
	return v.unbindPools(ctx, n, driver.Network{})
}

// loseNetwork removes a network that the engine has forgotten.
func (v *networkVerbs) loseNetwork(ctx context.Context, id driver.NetworkID) error {
	v.fabric.Lost(id)
	return v.dropNetwork(ctx, id)
}

// ownPools returns the pools of n that are ournet's, not the engine's own.
func ownPools(n driver.Network) []ipam.PoolID {
	var pools []ipam.PoolID
	for _, s := range n.Subnets {
		if ipam.IsSpace(s.Space) {
			pools = append(pools, poolID(s))
		}
	}
	return pools
}

func poolID(s driver.Subnet) ipam.PoolID { return ipam.NewPoolID(s.Space, s.Pool) }

// unlessUnknown lets a cleanup verb succeed for what is not there.
func unlessUnknown(err error) error {
	if errors.Is(err, driver.ErrNotFound) {
		return nil
	}
	return err
}
