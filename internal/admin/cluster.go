package admin

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// The paths of the cluster.
const (
	// ClusterPath answers, to GET, [Cluster].
	ClusterPath = "/ournet/v1/cluster"
	// HostsPath takes, with DELETE, a host out of the cluster: "?id=…". It is the one
	// path that changes anything.
	HostsPath = "/ournet/v1/hosts"
)

// The states of a [Host].
const (
	HostUp      = "up"
	HostSuspect = "suspect"
)

// removeTimeout bounds the removal of a host, which is done in the cluster store.
const removeTimeout = 30 * time.Second

// Cluster is what this host knows of its cluster, also while the store is away.
type Cluster struct {
	// Store is where the cluster store is, "" if this host has none.
	Store string `json:"store"`
	// Problem is why nothing can be changed in the cluster now, "" if it can.
	Problem string `json:"problem,omitempty"`
	// Hosts are those of the cluster, this one included.
	Hosts []Host `json:"hosts"`
	// Networks are those of the cluster, whether or not they are on this host.
	Networks []SharedNetwork `json:"networks"`
}

// Host is a host of the cluster.
type Host struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Addresses are those for packets between hosts.
	Addresses []netip.Addr `json:"addresses"`
	// State is [HostUp], or [HostSuspect] while it gives no sign of life.
	State    string    `json:"state"`
	LastSeen time.Time `json:"last_seen,omitzero"`
	// Endpoints is how many containers have an interface there, on networks of the
	// cluster that this host is on as well.
	Endpoints int    `json:"endpoints"`
	Version   string `json:"version"`
	// Self says that it is the host that answers.
	Self bool `json:"self"`
}

// SharedNetwork is a network of the cluster.
type SharedNetwork struct {
	// ID is the cluster's; each engine has one of its own.
	ID string `json:"id"`
	// Name is "" until the engine that made the network has told it.
	Name string `json:"name"`
	// Local is the id that the engine of this host has for it, "" if it is not here.
	Local    string         `json:"local,omitempty"`
	VNI      uint32         `json:"vni"`
	MTU      int            `json:"mtu"`
	Internal bool           `json:"internal"`
	Subnets  []netip.Prefix `json:"subnets"`
	Created  time.Time      `json:"created"`
	// Hosts are the ids of those that it is on.
	Hosts []string `json:"hosts"`
	// Endpoints is how many containers are on it, as far as this host knows.
	Endpoints int `json:"endpoints"`
	// Removed says that it was removed, and goes from each host with its last container.
	Removed bool `json:"removed"`
	// Problem is why it is not on this host as it should be, "" if all is well.
	Problem string `json:"problem,omitempty"`
}

// Pool is a subnet of a network, as the address manager has it.
type Pool struct {
	Subnet netip.Prefix `json:"subnet"`
	// Used is how many addresses this host has given out, or the engine did.
	Used uint64 `json:"used"`
	// Free is how many are left for containers; 2^64-1 means more than that.
	Free uint64 `json:"free"`
}

// Cluster asks for the hosts and networks of the cluster.
func (c *Client) Cluster(ctx context.Context) (Cluster, error) {
	var v Cluster
	err := c.get(ctx, ClusterPath, &v)
	return v, err
}

// RemoveHost takes a host out of the cluster.
func (c *Client) RemoveHost(ctx context.Context, id string) error {
	patient := *c
	patient.timeout = max(c.timeout, removeTimeout)
	return patient.ask(ctx, http.MethodDelete, HostsPath+"?id="+url.QueryEscape(id), nil)
}
