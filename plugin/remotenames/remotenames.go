// Package remotenames keeps what containers of other hosts are called.
//
// It owns what the records of package dns say of other hosts, and takes it from what is
// known of the cluster. It knows neither the networks of this host nor when the cluster
// has changed: it is told.
package remotenames

import (
	"github.com/ournet/ournet/dns"
	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/cluster"
)

// Viewer has what is known of the cluster, in memory; *cluster.Cluster.
type Viewer interface {
	View() *cluster.View
}

// Records are what queries are answered from, *dns.Records.
type Records interface {
	Replace(id dns.NetworkID, host dns.HostID, endpoints []dns.Endpoint)
	SetSuspect(host dns.HostID, suspect bool)
}

// Names keeps the records of other hosts' names. It is for one goroutine.
type Names struct {
	cluster Viewer
	records Records
	// told are the hosts of which there are names, by network of this host.
	told map[driver.NetworkID]map[cluster.HostID]bool
	// suspects are those of which no names are answered.
	suspects map[cluster.HostID]bool
}

// New returns names of which the records have none yet.
func New(of Viewer, records Records) *Names {
	return &Names{
		cluster: of, records: records,
		told: make(map[driver.NetworkID]map[cluster.HostID]bool), suspects: make(map[cluster.HostID]bool),
	}
}

// SetHosts withdraws the names of hosts that give no sign of life.
func (r *Names) SetHosts() {
	v := r.cluster.View()
	seen := make(map[cluster.HostID]bool)
	for _, h := range v.Hosts() {
		if h.ID == v.Self() {
			continue
		}
		seen[h.ID] = true
		if h.Suspect != r.suspects[h.ID] {
			r.records.SetSuspect(dns.HostID(h.ID), h.Suspect)
			r.suspects[h.ID] = h.Suspect
		}
	}
	for id := range r.suspects {
		if !seen[id] { // removed: if it comes back, it is a host like any other
			r.records.SetSuspect(dns.HostID(id), false)
			delete(r.suspects, id)
		}
	}
}

// SetNetwork takes over what other hosts say of the cluster's network of, which is id
// on this host.
func (r *Names) SetNetwork(id driver.NetworkID, of cluster.NetworkID) {
	v := r.cluster.View()
	byHost := make(map[cluster.HostID][]dns.Endpoint)
	for _, ep := range v.Endpoints(of) {
		if ep.Host != v.Self() && ep.Name != "" {
			byHost[ep.Host] = append(byHost[ep.Host], dns.Endpoint{ID: dns.EndpointID(ep.ID), Name: ep.Name, Aliases: ep.Aliases, Addrs: ep.Addrs})
		}
	}
	r.replace(id, byHost)
}

// KeepOnly forgets the networks that this host does not have.
func (r *Names) KeepOnly(have []driver.Attached) {
	here := make(map[driver.NetworkID]bool, len(have))
	for _, a := range have {
		here[a.Network.ID] = true
	}
	for id := range r.told {
		if !here[id] {
			r.replace(id, nil)
		}
	}
}

func (r *Names) replace(id driver.NetworkID, byHost map[cluster.HostID][]dns.Endpoint) {
	for host := range r.told[id] {
		if _, ok := byHost[host]; !ok {
			r.records.Replace(dns.NetworkID(id), dns.HostID(host), nil)
		}
	}
	delete(r.told, id)
	for host, endpoints := range byHost {
		r.records.Replace(dns.NetworkID(id), dns.HostID(host), endpoints)
		if r.told[id] == nil {
			r.told[id] = make(map[cluster.HostID]bool)
		}
		r.told[id][host] = true
	}
}
