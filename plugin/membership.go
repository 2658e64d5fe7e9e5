package plugin

import (
	"context"
	"errors"
	"maps"
	"net/netip"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/admin"
	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/internal/engine"
	"github.com/ournet/ournet/plugin/names"
)

// registrar is the part of *cluster.Cluster that knows networks and hosts as a whole.
type registrar interface {
	viewer
	CompleteNetwork(ctx context.Context, id cluster.NetworkID, c cluster.Completion) error
	RemoveHost(ctx context.Context, id cluster.HostID) error
}

// membership is this host's part in the cluster as propagation and operators see it.
type membership struct {
	*fabric

	registrar registrar
	networks  knownNetworks
	store     string // the setting
	troubles  func() map[string]string
	// away returns why the cluster store does not answer, nil if it does.
	away func() error
}

// knownNetworks are the records of this host, *driver.Registry.
type knownNetworks interface {
	NetworkLister
	Network(id driver.NetworkID) (driver.Network, bool)
	Endpoint(network driver.NetworkID, id driver.EndpointID) (driver.Endpoint, bool)
}

var (
	_ names.Announcer = (*membership)(nil)
	_ sharing         = (*membership)(nil)
	_ clusterAdmin    = (*membership)(nil)
)

// shared implements [sharing].
func (m *membership) shared() []sharedNetwork {
	v := m.registrar.View()
	networks := v.Networks()
	all := make([]sharedNetwork, 0, len(networks))
	for _, n := range networks {
		all = append(all, sharedNetwork{
			id: string(n.ID), definition: definitionOf(n), complete: n.Complete, ours: n.Creator == v.Self(), removed: v.Removed(n.ID), created: n.Created,
			endpoints: len(v.Endpoints(n.ID)),
		})
	}
	return all
}

// definitionOf is how an engine makes a network of the cluster.
func definitionOf(n cluster.Network) engine.Definition {
	d := engine.Definition{
		Name: n.Name, Labels: n.Labels, Options: n.Options, Internal: n.Internal, Attachable: n.Attachable, IPv4: n.IPv4, IPv6: n.IPv6,
		IPAM: engine.IPAM{Options: n.IPAMOptions},
	}
	for _, s := range n.Subnets {
		d.IPAM.Subnets = append(d.IPAM.Subnets, engine.Subnet{Subnet: s.Pool, Range: s.Range, Gateway: s.Gateway, Aux: s.Aux})
	}
	return d
}

// local implements [sharing].
func (m *membership) local() []localNetwork {
	var all []localNetwork
	for _, a := range m.networks.All() {
		if id, ok := clusterID(a.Network); ok {
			all = append(all, localNetwork{a.Network.ID, string(id), len(a.Endpoints) + len(a.Unreadable)})
		}
	}
	return all
}

// complete implements [sharing].
func (m *membership) complete(ctx context.Context, id string, _ driver.NetworkID, d engine.Definition) error {
	return m.registrar.CompleteNetwork(ctx, cluster.NetworkID(id), cluster.Completion{
		Name: d.Name, Labels: maps.Clone(d.Labels), Options: maps.Clone(d.Options), IPAMOptions: maps.Clone(d.IPAM.Options), Attachable: d.Attachable,
	})
}

// SetNames implements [names.Announcer]. The names themselves are asked for again, so
// the last ones are told whatever comes first.
func (m *membership) SetNames(network driver.NetworkID, id driver.EndpointID, _ string, _ []string) {
	n, _ := m.networks.Network(network)
	ep, ok := m.networks.Endpoint(network, id)
	if _, isShared := clusterID(n); !isShared || !ok || ep.SandboxKey == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), verbDeadline)
	defer cancel()
	err := m.Announce(ctx, n, ep)
	if ep, ok := m.networks.Endpoint(network, id); !ok || ep.SandboxKey == "" {
		// It left meanwhile, and nobody else may have seen what was told just now.
		err = errors.Join(err, m.Withdraw(ctx, n, id))
	}
	if err != nil {
		m.log.WithError(err).WithField("endpoint", id.Short()).Warn("other hosts hear of the container's names with the next sweep")
	}
}

// removeHost implements [clusterAdmin].
func (m *membership) removeHost(ctx context.Context, id string) error {
	if id == "" {
		return errors.New("say which host")
	}
	return m.registrar.RemoveHost(ctx, cluster.HostID(id))
}

// problem returns why the cluster store cannot be used now, "" if it can.
func (m *membership) problem() string {
	err := m.unusable()
	if err == nil {
		err = m.away()
	}
	if err == nil {
		return ""
	}
	return oneLine(err).Error()
}

// adminCluster implements [clusterAdmin].
func (m *membership) adminCluster() admin.Cluster {
	v := m.registrar.View()
	all := admin.Cluster{Store: m.store, Hosts: []admin.Host{}, Networks: []admin.SharedNetwork{}}
	if m.store != "" { // else nobody wants one, and there is no trouble with it
		all.Problem = m.problem()
	}
	endpoints := make(map[cluster.HostID]int)
	here := make(map[cluster.NetworkID]driver.NetworkID)
	for _, l := range m.local() {
		here[cluster.NetworkID(l.shared)] = l.id
	}
	troubles := m.troubles()
	for _, n := range v.Networks() {
		list := v.Endpoints(n.ID)
		for _, ep := range list {
			endpoints[ep.Host]++
		}
		s := admin.SharedNetwork{
			ID: string(n.ID), Name: n.Name, Local: string(here[n.ID]), VNI: n.VNI, MTU: n.MTU, Internal: n.Internal, Created: n.Created,
			Subnets: make([]netip.Prefix, 0, len(n.Subnets)), Hosts: []string{}, Endpoints: len(list), Removed: v.Removed(n.ID), Problem: troubles[string(n.ID)],
		}
		for _, subnet := range n.Subnets {
			s.Subnets = append(s.Subnets, subnet.Pool)
		}
		for _, host := range v.Members(n.ID) {
			s.Hosts = append(s.Hosts, string(host))
		}
		if len(s.Hosts) == 0 && n.Creator != "" {
			s.Hosts = []string{string(n.Creator)} // of the others only those know that are on it
		}
		all.Networks = append(all.Networks, s)
	}
	for _, h := range v.Hosts() {
		state := admin.HostUp
		if h.Suspect {
			state = admin.HostSuspect
		}
		all.Hosts = append(all.Hosts, admin.Host{
			ID: string(h.ID), Name: h.Name, Addresses: h.VTEPs, State: state, LastSeen: h.LastSeen, Endpoints: endpoints[h.ID], Version: h.Version, Self: h.ID == v.Self(),
		})
	}
	return all
}
