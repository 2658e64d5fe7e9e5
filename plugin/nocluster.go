package plugin

import (
	"context"
	"errors"

	"github.com/ournet/ournet/internal/admin"
)

// errNoCluster says what to do to whoever wants something of a cluster on a host that
// is in none. A plugin's settings can only be changed while it is disabled.
var errNoCluster = errors.New("this host is in no cluster: set where its cluster store is, with " +
	"`docker plugin disable -f ournet/ournet`, `docker plugin set ournet/ournet CLUSTER_STORE=consul://HOST:8500` and " +
	"`docker plugin enable ournet/ournet`")

// clusterAdmin is what an operator's command sees and does of a cluster.
type clusterAdmin interface {
	// adminCluster answers from memory.
	adminCluster() admin.Cluster
	// removeHost takes a host out of the cluster.
	removeHost(ctx context.Context, id string) error
}

// registerCluster registers what an operator's command asks of a cluster.
func (h *Handler) registerCluster(c clusterAdmin) {
	h.read(admin.ClusterPath, func() any { return c.adminCluster() })
	h.remove(admin.HostsPath, c.removeHost)
}

// noCluster is the cluster of a host that is in none.
type noCluster struct{}

func (noCluster) adminCluster() admin.Cluster {
	return admin.Cluster{Hosts: []admin.Host{}, Networks: []admin.SharedNetwork{}}
}

func (noCluster) removeHost(context.Context, string) error { return errNoCluster }
