// Package simulated has what the hosts are and have that benchmarks simulate: parts in a
// cluster, without engines, containers and tunnels.
package simulated

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/internal/store"
)

// Open opens the part that host n has in the cluster; the first is 0. None is taken for
// dead within a minute, on a machine that is busy.
func Open(ctx context.Context, log logrus.FieldLogger, own store.KV, shared cluster.Store, n int) (*cluster.Cluster, error) {
	return cluster.Open(ctx, log, own, shared, cluster.Options{Host: cluster.Host{
		Name: fmt.Sprintf("host%d", n), VTEPs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(n + 1)})}, Port: 4789,
	}, TTL: time.Minute})
}

// JoinNetwork lets host n join the network that all benchmarks have, and returns what the
// cluster calls it.
func JoinNetwork(ctx context.Context, host *cluster.Cluster, n int) (cluster.NetworkID, error) {
	joined, err := host.JoinNetwork(ctx, cluster.NetworkSpec{
		ID: cluster.NetworkID(id(n + 1)), IPv4: true, Subnets: []cluster.Subnet{{Pool: netip.MustParsePrefix("10.0.0.0/8")}},
	})
	if err != nil {
		return "", fmt.Errorf("host %d: %w", n, err)
	}
	return joined.ID, nil
}

// Endpoint returns the endpoint with a number, below 1<<24, as Compose has them made.
func Endpoint(network cluster.NetworkID, n int) cluster.Endpoint {
	return cluster.Endpoint{
		Network: network, ID: cluster.EndpointID(id(n)), Name: fmt.Sprintf("project-service-%d", n), Aliases: []string{"service"},
		MAC:   fmt.Sprintf("02:42:0a:%02x:%02x:%02x", n>>16&255, n>>8&255, n&255),
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})},
	}
}

// Endpoints returns those with the numbers from 1 to all, as many for each host.
func Endpoints(network cluster.NetworkID, all, hosts int) [][]cluster.Endpoint {
	byHost := make([][]cluster.Endpoint, hosts)
	for n := 1; n <= all; n++ {
		byHost[n%hosts] = append(byHost[n%hosts], Endpoint(network, n))
	}
	return byHost
}

// id returns an id of the engine's form.
func id(n int) string { return fmt.Sprintf("%08x%056x", n, n) }
