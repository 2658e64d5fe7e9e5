// Package dns answers the names of containers.
//
// It owns [Records], which say who has which name on which network, and the
// [Responder], which answers a sandbox from them and passes everything else on to
// the resolver that the sandbox had before. It is told of networks, hosts and
// endpoints by values, and is handed its sockets: it does not know what a container
// is, how names are learned, or how a query gets to the sockets.
//
// # How it works
//
// Names live in a zone for each network. A change builds the zones that it touches
// anew and puts a new snapshot in place of the old, so that a query reads without
// any lock, whatever is being changed. What a sandbox may ask is a view of its own:
// the zones of the networks that it is on, in its order, and its private links.
//
// A name is owned when the view has it. Owned names are answered here for every
// type; a type that they have nothing of is an empty answer, never a question to
// others, who would deny that the name exists. Every other query is passed on as it
// came, byte by byte.
//
// Nearly all queries are one plain question for an address. Those are read and
// answered in place, without taking memory; the DNS library sees the rest. Tests
// hold the two ways to the same answers, and a second library to their form.
//
// Nothing that answers an owned name ever waits for a resolver, another client or
// a change of the records, and each sandbox has limits of its own: what one
// container does with its resolver does not touch the next.
//
// # At a gateway
//
// The address of a network's gateway is a resolver for all containers of the network.
// Who asks is told by his address: he gets the answers of his own sandbox, and who has
// none gets no answer. What is not owned goes to servers that know nothing of our names.
// While the name of a container is not known yet, what they deny may be that name, so
// the answer waits until it is known.
package dns

import (
	"net/netip"
	"time"
)

// NetworkID identifies a network.
type NetworkID string

// HostID identifies a host of the cluster.
type HostID string

// EndpointID identifies an endpoint.
type EndpointID string

// SandboxKey identifies a sandbox on this host.
type SandboxKey string

// Network is a network whose endpoints have names.
type Network struct {
	ID NetworkID
	// Name is what may follow an endpoint's name: X.<name>. It is empty until it is
	// known.
	Name string
	// TTL is how long answers may be kept; less than a second means not at all.
	TTL time.Duration
}

// Endpoint is what the records know of one endpoint.
type Endpoint struct {
	ID EndpointID
	// Name is the container's name: what its addresses resolve back to. It is empty
	// until it is known.
	Name string
	// Aliases are all its other names: network aliases, short id, hostname, the
	// Compose service. Several endpoints may have the same.
	Aliases []string
	// Addrs are its addresses on this network.
	Addrs []netip.Addr
}

// Link is a name that one sandbox alone has for another container.
type Link struct {
	// Network is where the other container is looked for.
	Network NetworkID
	// Alias is the private name.
	Alias string
	// Target is any name of the other container. The link is gone while no
	// endpoint has it.
	Target string
}

// Sandbox is what a sandbox may ask.
type Sandbox struct {
	// Networks are those that it is on. Where several have a name, the first wins,
	// as with the engine's own resolver (moby, Sandbox.ResolveName).
	Networks []NetworkID
	Links    []Link
	// Addrs are its addresses on them. They tell who asks at a network's gateway.
	Addrs map[NetworkID][]netip.Addr
	// Confined says that it has no way out: at a gateway, it gets answers to owned
	// names alone.
	Confined bool
}
