// Package admin is how an operator's command asks a running plugin: the paths, the
// form of the answers, and a [Client]. It does not know where answers come from,
// nor how they are shown.
//
// Within v1 of the paths fields are only ever added: command and plugin may be of
// different versions.
package admin

import (
	"net/netip"
	"path/filepath"
	"time"
)

// What can be read with GET, beside [ClusterPath], on the sockets of the plugin protocol.
const (
	// NetworksPath answers [Networks].
	NetworksPath = "/ournet/v1/networks"
	// StatsPath answers the durations of the protocol's verbs.
	StatsPath = "/ournet/v1/stats"
	// RepairsPath answers how often what had to be put right, by the kind of thing.
	RepairsPath = "/ournet/v1/repairs"
)

// hostSocketDir is where every engine looks for plugins by name (moby
// pkg/plugins/discovery_unix.go), and a plugin's setting NAME is the socket's.
const hostSocketDir = "/run/docker/plugins"

// SocketPath returns the path, on the host, of the socket of the plugin of that NAME.
func SocketPath(name string) string { return filepath.Join(hostSocketDir, name+".sock") }

// Networks is all that is on this host.
type Networks struct {
	Networks []Network `json:"networks"`
}

// Network is one network with its endpoints on this host.
type Network struct {
	// ID is the engine's.
	ID        string     `json:"id"`
	Endpoints []Endpoint `json:"endpoints"`
	// Type is the kind of network, "bridge" or "overlay".
	Type string `json:"type"`
	// Shared is the cluster's id of a network of the cluster, "" for one of this host.
	Shared string `json:"shared,omitempty"`
	// Internal says that there is no way out of it.
	Internal bool `json:"internal,omitempty"`
	// Created is when the engine asked for it.
	Created time.Time `json:"created"`
	// Pools are its subnets.
	Pools []Pool `json:"pools"`
	// Unreadable is how many further endpoints there are, of which nothing can be
	// said: a later version of the plugin has recorded them.
	Unreadable int `json:"unreadable,omitempty"`
}

// Endpoint is a container's place on a network. The plugin does not know the
// container's name: the engine does.
type Endpoint struct {
	// ID is the engine's.
	ID string `json:"id"`
	// Ports are those that are published now.
	Ports []Port `json:"ports"`
}

// Port is one port of a container, published on one address of the host.
type Port struct {
	// Protocol is tcp, udp or sctp.
	Protocol string `json:"protocol"`
	// Container is where it leads.
	Container netip.AddrPort `json:"container"`
	// Host is where the host takes it.
	Host netip.AddrPort `json:"host"`
}
