package plugin

import (
	"github.com/ournet/ournet/dns"
	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/cluster"
)

// nameRecords are the records that queries are answered from, *dns.Records.
type nameRecords interface {
	Replace(id dns.NetworkID, host dns.HostID, endpoints []dns.Endpoint)
	SetSuspect(host dns.HostID, suspect bool)
}

// remoteNames keeps what containers of other hosts are called. It is for one goroutine.
type remoteNames struct {
	cluster viewer
	records nameRecords
	// told are the hosts of which there are names, by network of this host.
	told map[driver.NetworkID]map[cluster.HostID]bool
	// suspects are those of which no names are answered.
	suspects map[cluster.HostID]bool
}

func newRemoteNames(of viewer, records nameRecords) *remoteNames {
	return &remoteNames{
		cluster: of, records: records,
		told: make(map[driver.NetworkID]map[cluster.HostID]bool), suspects: make(map[cluster.HostID]bool),
	}
}

// setHosts withdraws the names of hosts that give no sign of life.
func (r *remoteNames) setHosts() {
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

// setNetwork takes over what other hosts say of a network.
func (r *remoteNames) setNetwork(n driver.Network) {
	id, ok := clusterID(n)
	if !ok {
		return
	}
	v := r.cluster.View()
	byHost := make(map[cluster.HostID][]dns.Endpoint)
	for _, ep := range v.Endpoints(id) {
		if ep.Host != v.Self() && ep.Name != "" {
			byHost[ep.Host] = append(byHost[ep.Host], dns.Endpoint{ID: dns.EndpointID(ep.ID), Name: ep.Name, Aliases: ep.Aliases, Addrs: ep.Addrs})
		}
	}
	r.replace(n.ID, byHost)
}

// keepOnly forgets the networks that are not among those.
func (r *remoteNames) keepOnly(have []driver.Attached) {
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

func (r *remoteNames) replace(id driver.NetworkID, byHost map[cluster.HostID][]dns.Endpoint) {
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
