// Package dns knows the names of containers.
//
// It owns [Records], which say who has which name on which network. It is told of
// networks, hosts and endpoints by values; it does not know what a container is, or
// how names are learned.
//
// Names live in a zone for each network. A change builds the zones that it touches
// anew and puts a new snapshot in place of the old, so that a query reads without
// any lock, whatever is being changed. What a sandbox may ask is a view of its own:
// the zones of the networks that it is on, in its order, and its private links.
package dns

import (
	"net/netip"
	"time"
)

// DefaultTTL is how long an answer may be kept where nothing else is said. The
// engine's own resolver says 600 s, and users have had stale addresses since.
const DefaultTTL = 5 * time.Second

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
	// Name is what may follow an endpoint's name: X.<name>.
	Name string
	// TTL is how long answers may be kept; less than a second means not at all.
	TTL time.Duration
}

// Endpoint is what the records know of one endpoint.
type Endpoint struct {
	ID EndpointID
	// Name is the container's name: what its addresses resolve back to.
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
}
