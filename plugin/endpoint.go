package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	netapi "github.com/docker/go-plugins-helpers/network"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/ipam"
)

// endpointOptions begins the options of an endpoint that the engine knows and
// applies by itself (moby daemon/libnetwork/netlabel/labels.go).
const endpointOptions = "com.docker.network.endpoint."

// createEndpoint binds the addresses before it makes the endpoint, so that there
// never is an endpoint whose address may be given away.
func (v *networkVerbs) createEndpoint(ctx context.Context, req *createEndpointRequest) (netapi.CreateEndpointResponse, error) {
	ep, err := parseEndpoint(req)
	if err != nil {
		return netapi.CreateEndpointResponse{}, err
	}
	ep.Created = v.now().UTC()
	v.reportUnused(req)
	done, err := v.turns.Take(ctx, string(ep.ID))
	if err != nil {
		return netapi.CreateEndpointResponse{}, err
	}
	defer done()
	n, ok := v.networks.Network(ep.Network)
	if !ok {
		return netapi.CreateEndpointResponse{}, fmt.Errorf("network %s: %w", ep.Network.Short(), driver.ErrNotFound)
	}
	if err := checkAddrs(n, ep); err != nil {
		return netapi.CreateEndpointResponse{}, err
	}
	have, _ := v.networks.Endpoint(ep.Network, ep.ID)
	for _, l := range ownLeases(n, ep) {
		if err := v.addresses.BindAddress(l.pool, l.addr, string(ep.ID)); err != nil {
			v.unbindAddrs(n, ep, have)
			return netapi.CreateEndpointResponse{}, fmt.Errorf("bind address %s: %w", l.addr, err)
		}
	}
	made, err := v.networks.CreateEndpoint(ctx, ep)
	if err != nil {
		v.unbindAddrs(n, ep, have)
		return netapi.CreateEndpointResponse{}, err
	}
	// Only what the request left empty may be filled in; the engine refuses an
	// endpoint whose driver repeats a value (moby drivers/remote/driver.go).
	if req.Interface.MacAddress != "" {
		return netapi.CreateEndpointResponse{}, nil
	}
	return netapi.CreateEndpointResponse{Interface: &netapi.EndpointInterface{MacAddress: made.MAC.String()}}, nil
}

func (v *networkVerbs) deleteEndpoint(ctx context.Context, req *netapi.DeleteEndpointRequest) (struct{}, error) {
	nid, eid, err := parseIDs(req.NetworkID, req.EndpointID)
	if err != nil {
		return struct{}{}, nil //nolint:nilerr // what has no valid id was never made
	}
	return struct{}{}, v.dropEndpoint(ctx, nid, eid, func(n driver.Network, ep driver.Endpoint) error {
		v.unbindAddrs(n, ep, driver.Endpoint{})
		return nil
	})
}

// dropEndpoint removes an endpoint; letGo lets go of its addresses.
func (v *networkVerbs) dropEndpoint(ctx context.Context, nid driver.NetworkID, eid driver.EndpointID,
	letGo func(n driver.Network, ep driver.Endpoint) error,
) error {
	done, err := v.turns.Take(ctx, string(eid))
	if err != nil {
		return err
	}
	defer done()
	n, _ := v.networks.Network(nid)
	ep, _ := v.networks.Endpoint(nid, eid)
	v.names.Leave(nid, eid)
	if err := unlessUnknown(v.networks.DeleteEndpoint(ctx, nid, eid)); err != nil {
		return err // still on record, so its addresses stay bound
	}
	// The engine leaves out Leave when it forces.
	return errors.Join(letGo(n, ep), v.fabric.Withdraw(ctx, n, eid))
}

// unbindAddrs lets go of the addresses of ep, but for those that keep has as well.
func (v *networkVerbs) unbindAddrs(n driver.Network, ep, keep driver.Endpoint) {
	kept := keep.Addrs()
	for _, l := range ownLeases(n, ep) {
		if !slices.Contains(kept, l.addr) {
			v.addresses.UnbindAddress(l.pool, l.addr, string(ep.ID))
		}
	}
}

// lease is an address of an endpoint with the pool that it is of.
type lease struct {
	pool ipam.PoolID
	addr netip.Addr
}

// ownLeases returns the addresses of ep that are of pools of ours.
func ownLeases(n driver.Network, ep driver.Endpoint) []lease {
	var leases []lease
	for _, addr := range ep.Addrs() {
		if s, ok := subnetOf(n, addr); ok && ipam.IsSpace(s.Space) {
			leases = append(leases, lease{poolID(s), addr})
		}
	}
	return leases
}

func subnetOf(n driver.Network, addr netip.Addr) (driver.Subnet, bool) {
	i := slices.IndexFunc(n.Subnets, func(s driver.Subnet) bool { return s.Pool.Contains(addr) })
	if i < 0 {
		return driver.Subnet{}, false
	}
	return n.Subnets[i], true
}

// checkAddrs refuses addresses that are of none of the network's subnets: their
// endpoint would reach nobody.
func checkAddrs(n driver.Network, ep driver.Endpoint) error {
	for _, addr := range ep.Addrs() {
		if _, ok := subnetOf(n, addr); !ok {
			return fmt.Errorf("address %s is in no subnet of network %s", addr, n.ID.Short())
		}
	}
	return nil
}

// reportUnused says once per endpoint which options nobody will apply. They are
// not refused: `docker network connect --driver-opt` hands on whatever it gets,
// and Compose files carry options for other drivers.
func (v *networkVerbs) reportUnused(req *createEndpointRequest) {
	var unused []string
	for _, key := range slices.Sorted(maps.Keys(req.Options)) {
		if key != optPortMap && !strings.HasPrefix(key, endpointOptions) {
			unused = append(unused, key)
		}
	}
	if len(unused) > 0 {
		v.log.WithField("endpoint", driver.EndpointID(req.EndpointID).Short()).
			WithField("options", strings.Join(unused, ",")).Info("endpoint options have no effect")
	}
}

// endpointInfo tells nothing, but always succeeds: Engine 20.10 fails the
// container's start otherwise, and no engine can read ports from a remote driver.
func (v *networkVerbs) endpointInfo(context.Context, *struct{}) (netapi.InfoResponse, error) {
	return netapi.InfoResponse{Value: map[string]string{}}, nil
}

// joinResponse has the field that netapi's type lacks. Engines that do not know it
// call the interface by the prefix.
type joinResponse struct {
	InterfaceName interfaceName
	netapi.JoinResponse
}

type interfaceName struct {
	netapi.InterfaceName

	DstName string `json:",omitempty"`
}

func (v *networkVerbs) join(ctx context.Context, req *netapi.JoinRequest) (joinResponse, error) {
	nid, eid, err := parseIDs(req.NetworkID, req.EndpointID)
	if err != nil {
		return joinResponse{}, err
	}
	if !filepath.IsAbs(req.SandboxKey) || filepath.Clean(req.SandboxKey) != req.SandboxKey {
		return joinResponse{}, fmt.Errorf("sandbox key %q is not the path of a network namespace", req.SandboxKey)
	}
	done, err := v.turns.Take(ctx, string(eid))
	if err != nil {
		return joinResponse{}, err
	}
	defer done()
	att, err := v.networks.Join(ctx, nid, eid, req.SandboxKey)
	if err != nil {
		return joinResponse{}, err
	}
	if err := v.announce(ctx, nid, eid); err != nil {
		return joinResponse{}, errors.Join(err, v.networks.Leave(ctx, nid, eid))
	}
	v.joined(ctx, nid, eid)
	return joinResponse{
		InterfaceName: interfaceName{netapi.InterfaceName{SrcName: att.SrcName, DstPrefix: att.DstPrefix}, att.DstName},
		JoinResponse: netapi.JoinResponse{
			Gateway: addrOrEmpty(att.Gateway), GatewayIPv6: addrOrEmpty(att.GatewayIPv6), StaticRoutes: onLink(att.OnLink),
		},
	}, nil
}

// routeConnected is the engine's number for a route without a next hop (moby
// daemon/libnetwork/types, CONNECTED).
const routeConnected = 1

func onLink(subnets []netip.Prefix) []*netapi.StaticRoute {
	var routes []*netapi.StaticRoute
	for _, s := range subnets {
		routes = append(routes, &netapi.StaticRoute{Destination: s.String(), RouteType: routeConnected})
	}
	return routes
}

// announce tells the other hosts of an endpoint that has joined. It is said by and by:
// a container does not wait for it.
func (v *networkVerbs) announce(ctx context.Context, nid driver.NetworkID, eid driver.EndpointID) error {
	n, _ := v.networks.Network(nid)
	ep, _ := v.networks.Endpoint(nid, eid)
	return v.fabric.Announce(ctx, n, ep)
}

// addrOrEmpty keeps the text of a missing address, "invalid IP", off the wire.
func addrOrEmpty(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func (v *networkVerbs) leave(ctx context.Context, req *netapi.LeaveRequest) (struct{}, error) {
	nid, eid, err := parseIDs(req.NetworkID, req.EndpointID)
	if err != nil {
		return struct{}{}, nil // what has no valid id never joined
	}
	done, err := v.turns.Take(ctx, string(eid))
	if err != nil {
		return struct{}{}, err
	}
	defer done()
	v.names.Leave(nid, eid)
	n, _ := v.networks.Network(nid)
	return struct{}{}, errors.Join(unlessUnknown(v.networks.Leave(ctx, nid, eid)), v.fabric.Withdraw(ctx, n, eid))
}
