package plugin

import (
	"context"
	"fmt"
	"net/netip"

	ipamapi "github.com/docker/go-plugins-helpers/ipam"

	"github.com/ournet/ournet/ipam"
)

// The options of RequestAddress (moby daemon/libnetwork/ipamapi/contract.go and
// netlabel/labels.go; the name is sent by Engine 29 and later).
const (
	optAddressType    = "RequestAddressType"
	addressTypeGW     = "com.docker.network.gateway"
	optAddressForName = "com.docker.network.endpoint.name"
)

// Addresses is the address manager, *ipam.Manager. The release verbs succeed for
// what they do not know.
type Addresses interface {
	Pools
	Leases
}

// Pools hands out subnets. A pool that is bound to a network stays when it is
// released, until the network unbinds it: the engine releases a network's pools
// before it deletes the network.
type Pools interface {
	// AddressSpaces returns the one to ask in, of a network whose user says nothing.
	AddressSpaces() string
	RequestPool(ctx context.Context, req ipam.PoolRequest) (ipam.PoolID, netip.Prefix, error)
	ReleasePool(ctx context.Context, id ipam.PoolID) error
	// BindPool says that a network of ours lives in the pool; repeating it is fine.
	BindPool(id ipam.PoolID, network string) error
	UnbindPool(ctx context.Context, id ipam.PoolID, network string) error
	// Pools tells what there is, from memory.
	Pools() []ipam.PoolInfo
}

// Leases hands out addresses of a pool. An address that is never bound is taken
// back after a while.
type Leases interface {
	RequestAddress(ctx context.Context, req ipam.AddressRequest) (netip.Prefix, error)
	ReleaseAddress(ctx context.Context, id ipam.PoolID, addr netip.Addr) error
	// BindAddress says that an endpoint of ours has the address; repeating it is fine.
	BindAddress(id ipam.PoolID, addr netip.Addr, endpoint string) error
	UnbindAddress(id ipam.PoolID, addr netip.Addr, endpoint string)
}

// ipamVerbs answers IpamDriver.* by translating between the wire and [Addresses].
type ipamVerbs struct {
	addresses Addresses
	rivals    *rivals
	// explain has an error say what is in the way in the words that users know.
	explain func(error) error
}

func (v *ipamVerbs) register(h *Handler) {
	route(h, "IpamDriver.GetCapabilities", bodyIgnored, v.capabilities)
	route(h, "IpamDriver.GetDefaultAddressSpaces", bodyIgnored, v.addressSpaces)
	route(h, "IpamDriver.RequestPool", bodyRequired, v.requestPool)
	route(h, "IpamDriver.ReleasePool", bodyRequired, v.releasePool)
	route(h, "IpamDriver.RequestAddress", bodyRequired, v.requestAddress)
	route(h, "IpamDriver.ReleaseAddress", bodyRequired, v.releaseAddress)
}

// ipamCapabilities has the field that ipamapi's type lacks.
type ipamCapabilities struct {
	ipamapi.CapabilitiesResponse
	// RequiresRequestReplay would have every pool and address asked for again at
	// each start of the engine. Ours are durable.
	RequiresRequestReplay bool
}

// capabilities declines a MAC address made beforehand: ours follows from the
// address, so that an address that returns keeps its MAC.
func (v *ipamVerbs) capabilities(context.Context, *struct{}) (ipamCapabilities, error) {
	return ipamCapabilities{}, nil
}

// addressSpaces answers one space for both scopes. That they are equal keeps
// Engine 29 from its own overlap check, which asks for pool after pool without an
// end while they overlap a route of the host (moby ipams/remote/remote.go); the
// address manager skips such pools by itself.
func (v *ipamVerbs) addressSpaces(context.Context, *struct{}) (ipamapi.AddressSpacesResponse, error) {
	return ipamapi.AddressSpacesResponse{
		LocalDefaultAddressSpace:  v.addresses.AddressSpaces(),
		GlobalDefaultAddressSpace: v.addresses.AddressSpaces(),
	}, nil
}

func (v *ipamVerbs) requestPool(ctx context.Context, req *ipamapi.RequestPoolRequest) (ipamapi.RequestPoolResponse, error) {
	parsed, err := parsePoolRequest(req)
	if err != nil {
		return ipamapi.RequestPoolResponse{}, err
	}
	if ipam.IsSpace(parsed.Space) {
		// Engine 20.10 goes on asking in the space that it was told when it first saw
		// the plugin, also after a setting has changed which it is to be.
		parsed.Space = v.addresses.AddressSpaces()
	}
	answered := v.rivals.enter(ctx, parsed.Subnet)
	id, pool, err := v.addresses.RequestPool(ctx, parsed)
	answered(string(id), err)
	if err != nil {
		return ipamapi.RequestPoolResponse{}, v.explain(err)
	}
	return ipamapi.RequestPoolResponse{PoolID: string(id), Pool: pool.String(), Data: map[string]string{}}, nil
}

func parsePoolRequest(req *ipamapi.RequestPoolRequest) (ipam.PoolRequest, error) {
	out := ipam.PoolRequest{Space: req.AddressSpace, Options: req.Options, V6: req.V6}
	if req.Pool == "" {
		if req.SubPool != "" {
			return ipam.PoolRequest{}, fmt.Errorf("address range %s needs a subnet: add --subnet", req.SubPool)
		}
		return out, nil
	}
	var err error
	if out.Subnet, err = parseSubnet("subnet", req.Pool); err != nil {
		return ipam.PoolRequest{}, err
	}
	if out.Subnet.Addr().Is6() != req.V6 {
		return ipam.PoolRequest{}, fmt.Errorf("subnet %s is not of the family that was asked for (V6=%t)", out.Subnet, req.V6)
	}
	if req.SubPool == "" {
		return out, nil
	}
	if out.Range, err = parseSubnet("address range", req.SubPool); err != nil {
		return ipam.PoolRequest{}, err
	}
	return out, nil
}

// parseSubnet reads a prefix without host bits, as today's engine demands it;
// 20.10 lets anything pass.
func parseSubnet(what, s string) (netip.Prefix, error) {
	p, err := parsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s %q: %w", what, s, err)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%s %s has host bits set: write %s", what, p, p.Masked())
	}
	return p, nil
}

// releasePool succeeds for whatever is not a pool of ours: the engine has
// forgotten it already.
func (v *ipamVerbs) releasePool(ctx context.Context, req *ipamapi.ReleasePoolRequest) (struct{}, error) {
	v.rivals.becomes("", req.PoolID)
	return struct{}{}, v.addresses.ReleasePool(ctx, ipam.PoolID(req.PoolID))
}

func (v *ipamVerbs) requestAddress(ctx context.Context, req *ipamapi.RequestAddressRequest) (ipamapi.RequestAddressResponse, error) {
	parsed := ipam.AddressRequest{
		Pool:    ipam.PoolID(req.PoolID),
		Gateway: req.Options[optAddressType] == addressTypeGW,
		Name:    req.Options[optAddressForName],
	}
	if req.Address != "" {
		var err error
		if parsed.Address, err = parseAddr(req.Address); err != nil {
			return ipamapi.RequestAddressResponse{}, fmt.Errorf("address %q: %w", req.Address, err)
		}
	}
	addr, err := v.addresses.RequestAddress(ctx, parsed)
	if err != nil {
		return ipamapi.RequestAddressResponse{}, err
	}
	return ipamapi.RequestAddressResponse{Address: addr.String(), Data: map[string]string{}}, nil
}

// releaseAddress succeeds for whatever was never handed out: the engine releases
// the gateway even of a network that has none.
func (v *ipamVerbs) releaseAddress(ctx context.Context, req *ipamapi.ReleaseAddressRequest) (struct{}, error) {
	addr, err := parseAddr(req.Address)
	if err != nil {
		return struct{}{}, nil //nolint:nilerr // what is no address was never handed out
	}
	return struct{}{}, v.addresses.ReleaseAddress(ctx, ipam.PoolID(req.PoolID), addr)
}
