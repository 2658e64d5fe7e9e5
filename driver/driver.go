// Package driver holds what every kind of ournet network has in common: the
// values that describe networks and endpoints, the seam that a kind of network
// implements ([Driver]), the options a user may give, and the [Registry] that
// keeps the records and makes each verb idempotent.
//
// It knows nothing of Docker's wire format (that is package plugin), of address
// allocation (package ipam) or of how a bridge or tunnel is made (its subpackages).
package driver

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// NetworkID is the engine's id of a network: 64 hexadecimal digits.
type NetworkID string

// EndpointID is the engine's id of an endpoint: 64 hexadecimal digits.
type EndpointID string

// Short returns the first 12 digits, as the Docker CLI shows ids.
func (id NetworkID) Short() string { return short(string(id)) }

// Short returns the first 12 digits, as the Docker CLI shows ids.
func (id EndpointID) Short() string { return short(string(id)) }

func short(id string) string { return id[:min(len(id), 12)] }

// MAC is a 48 bit hardware address. The zero value means "none".
type MAC [6]byte

// ParseMAC reads the usual text form, "02:42:ac:19:00:02".
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil {
		return MAC{}, fmt.Errorf("parse MAC address: %w", err)
	}
	if len(hw) != len(MAC{}) {
		return MAC{}, fmt.Errorf("parse MAC address: %q has %d bytes, not 6", s, len(hw))
	}
	return MAC(hw), nil
}

// MACFromAddr derives the MAC address that Docker gives an interface with that
// address: 02:42 and the four bytes of the IPv4 address. An IPv6 address gives
// its last four bytes. Because it follows from the address, an address that
// returns keeps its MAC, and no neighbour's cache goes stale.
func MACFromAddr(a netip.Addr) MAC {
	b := a.AsSlice()
	mac := MAC{0x02, 0x42}
	copy(mac[2:], b[len(b)-4:])
	return mac
}

// IsZero reports whether m is "none".
func (m MAC) IsZero() bool { return m == MAC{} }

// String returns the usual text form, or "" for none.
func (m MAC) String() string {
	if m.IsZero() {
		return ""
	}
	return net.HardwareAddr(m[:]).String()
}

// MarshalText returns the usual text form; it lets a MAC be a JSON string.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *MAC) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*m = MAC{}
		return nil
	}
	got, err := ParseMAC(string(text))
	if err != nil {
		return err
	}
	*m = got
	return nil
}

// Subnet is one address pool of a network, as the engine's address manager gave it.
type Subnet struct {
	// Space is the address space that the pool is of. It tells whose address
	// manager owns the pool: ournet's or the engine's own.
	Space string
	// Pool is the subnet.
	Pool netip.Prefix
	// Gateway is the gateway's address with the pool's prefix length. It is not
	// valid where the network has no gateway.
	Gateway netip.Prefix
	// Aux are further reserved addresses, by the name that the user gave them.
	Aux map[string]netip.Addr `json:",omitempty"`
}

// Network is everything that is known of a network when it is made. It does not
// change afterwards.
type Network struct {
	ID      NetworkID
	Options Options
	// Subnets are the network's pools, IPv4 before IPv6, in the user's order.
	Subnets []Subnet
	// Internal networks have no way out and none in.
	Internal bool
	// Created is when the engine asked for the network.
	Created time.Time
	// Overlay is what the cluster says of an overlay network, nil for other types.
	Overlay *Overlay `json:",omitempty"`
}

// Overlay is what all hosts of a cluster have in common of an overlay network.
type Overlay struct {
	// Cluster is the network's id in the cluster. The engine of each host has an id of
	// its own for it, [Network].ID.
	Cluster string
	// VNI is the VXLAN network identifier, from 1 to 2^24-1.
	VNI uint32
	// MTU of the containers' interfaces in bytes.
	MTU int
}

// HasIPv4 reports whether the network has an IPv4 pool.
func (n Network) HasIPv4() bool { return n.has(netip.Addr.Is4) }

// HasIPv6 reports whether the network has an IPv6 pool.
func (n Network) HasIPv6() bool { return n.has(netip.Addr.Is6) }

func (n Network) has(family func(netip.Addr) bool) bool {
	return slices.ContainsFunc(n.Subnets, func(s Subnet) bool { return family(s.Pool.Addr()) })
}

// The names of auxiliary addresses that containers get as their gateway, in the
// place of the address on the bridge; so the built-in bridge has it (moby
// daemon/libnetwork/drivers/bridge, DefaultGatewayV4AuxKey).
const (
	AuxGatewayIPv4 = "DefaultGatewayIPv4"
	AuxGatewayIPv6 = "DefaultGatewayIPv6"
)

// OtherGateway returns the auxiliary address that is the containers' gateway, if the
// user named one so.
func (s Subnet) OtherGateway() (netip.Addr, bool) {
	name := AuxGatewayIPv4
	if s.Pool.Addr().Is6() {
		name = AuxGatewayIPv6
	}
	a, ok := s.Aux[name]
	return a, ok
}

// Gateway returns the gateway for an endpoint with that address: the one of the
// subnet that contains it. It is not valid if there is none.
func (n Network) Gateway(of netip.Addr) netip.Addr {
	for _, s := range n.Subnets {
		if !s.Pool.Contains(of) {
			continue
		}
		if other, ok := s.OtherGateway(); ok {
			return other
		}
		if s.Gateway.IsValid() {
			return s.Gateway.Addr()
		}
	}
	return netip.Addr{}
}

// Protocol is an IP protocol number of a published port (IANA): 6, 17 or 132.
type Protocol uint8

// The protocols that Docker can publish.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String returns the lower-case name, as in `docker run -p 53:53/udp`.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	default:
		return fmt.Sprintf("protocol %d", uint8(p))
	}
}

// Binding is a port of an endpoint that is, or shall be, published on the host.
type Binding struct {
	Protocol Protocol
	// Port is the port in the container.
	Port uint16
	// HostAddr is the host address to bind; not valid means the network's
	// default (`host_binding_ipv4`), or all addresses.
	HostAddr netip.Addr
	// HostPort is the first host port to try; 0 means any free one.
	HostPort uint16
	// HostPortEnd is the last host port to try; it is never less than HostPort.
	HostPortEnd uint16
}

// String returns the form of the Docker CLI, "0.0.0.0:8080->80/tcp".
func (b Binding) String() string {
	host := "*"
	if b.HostAddr.IsValid() {
		host = b.HostAddr.String()
	}
	return fmt.Sprintf("%s->%d/%s", net.JoinHostPort(host, strconv.Itoa(int(b.HostPort))), b.Port, b.Protocol)
}

// Endpoint is a network's attachment in a sandbox.
type Endpoint struct {
	ID      EndpointID
	Network NetworkID
	// Address and AddressIPv6 carry the prefix length of their subnet; either
	// may be not valid.
	Address     netip.Prefix
	AddressIPv6 netip.Prefix
	MAC         MAC
	// InterfaceName is what the user wants the interface to be called in the
	// container; "" leaves that to the network.
	InterfaceName string `json:",omitempty"`
	// Bindings are the ports that the user asked to publish.
	Bindings []Binding `json:",omitempty"`
	// Published are the ports as they are published now: HostAddr and HostPort
	// are what was bound. HostPort is 0 if none was, because the gateway is
	// [GatewayRouted]: HostAddr is then unspecified and tells the family. Empty until
	// the engine asks for it.
	Published []Binding `json:",omitempty"`
	// SandboxKey is the path of the container's network namespace in the
	// host's file system, "" before the endpoint has joined one.
	SandboxKey string `json:",omitempty"`
	// Created is when the engine asked for the endpoint.
	Created time.Time
}

// Addrs returns the endpoint's addresses, IPv4 first.
func (ep Endpoint) Addrs() []netip.Addr {
	var addrs []netip.Addr
	for _, p := range []netip.Prefix{ep.Address, ep.AddressIPv6} {
		if p.IsValid() {
			addrs = append(addrs, p.Addr())
		}
	}
	return addrs
}

// Attachment is what the engine needs to know of an endpoint that has joined:
// which interface to move into the sandbox, how to name it, and where to route.
type Attachment struct {
	// SrcName is the interface's name in the host's namespace.
	SrcName string
	// DstPrefix is the start of its name in the sandbox; the engine adds a number.
	DstPrefix string
	// DstName is its whole name there, where one was asked for.
	DstName string
	// Gateway and GatewayIPv6 are not valid where there is no default route.
	Gateway     netip.Addr
	GatewayIPv6 netip.Addr
	// OnLink are subnets that are reached on the interface itself, without a gateway,
	// besides those of its addresses.
	OnLink []netip.Prefix
}

// Driver makes one kind of network in the kernel. The [Registry] calls it with
// whole records; a driver keeps no records of its own, so that what the kernel
// should hold always follows from the records.
//
// Every method is idempotent, ends when ctx does, and leaves the kernel either as
// it was or as asked.
type Driver interface {
	// Check reports, without touching anything, why n cannot be made beside have.
	Check(n Network, have []Network) error
	// EnsureNetwork makes the network's devices and rules.
	EnsureNetwork(ctx context.Context, n Network) error
	// RemoveNetwork removes them; what is not there is fine.
	RemoveNetwork(ctx context.Context, n Network) error
	// Join makes the endpoint's interface, ready to be moved into a sandbox.
	Join(ctx context.Context, n Network, ep Endpoint) (Attachment, error)
	// Leave removes the endpoint's interface, wherever it is now.
	Leave(ctx context.Context, n Network, ep Endpoint) error
	// Reconcile brings the kernel to exactly what the records say, and returns
	// what it had to repair, one line each. It is the one path for start and
	// repair. What networks in unreadable have is left alone as far as possible,
	// though nothing but their ids is known.
	Reconcile(ctx context.Context, want []Attached, unreadable []NetworkID) (repairs []string, err error)
}

// Publisher is a [Driver] that can publish ports by itself.
type Publisher interface {
	// Publish publishes ep.Bindings and returns them as bound. It publishes all
	// or nothing, and a taken host port is an error that names it. Where a binding
	// leaves the choice of the host port, former helps to make it.
	Publish(ctx context.Context, n Network, ep Endpoint, former Former) ([]Binding, error)
	// Unpublish takes back ep.Published; what is not there is fine.
	Unpublish(ctx context.Context, n Network, ep Endpoint) error
}

// Attached is a network with all of its endpoints on this host.
type Attached struct {
	Network   Network
	Endpoints []Endpoint
	// Unreadable are further endpoints, whose records this version cannot read. A
	// newer one, to which the user may return, has made them; what they have in the
	// kernel is to be left alone.
	Unreadable []EndpointID
}

// ValidID reports whether s has the form of the engine's ids: 64 lower-case
// hexadecimal digits. Ids become parts of keys and device names, so nothing else
// may pass.
func ValidID(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && hex.EncodeToString(b) == s
}
