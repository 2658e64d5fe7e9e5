package store

import "strings"

// The key schema, whole, but for the keys of hosts and networks in the cluster store,
// which are in clusterkeys.go. Every value is versioned JSON; a value of an unknown
// future version is skipped by its reader with one warning.
//
// Records of this host alone are under "v1/local/": the engine's network and
// endpoint ids mean nothing on another host. Pools are under "v1/pools/": in the
// store of this host one step deeper, by address space.
const (
	prefixLocalNetworks  = "v1/local/networks/"
	prefixLocalEndpoints = "v1/local/endpoints/"
	prefixLocalPorts     = "v1/local/ports/"
	prefixLocalNames     = "v1/local/names/"
	prefixLocalJournal   = "v1/local/journal/"
	prefixLocalLeaving   = "v1/local/leaving/"
	prefixPools          = "v1/pools/"
	prefixShards         = "v1/shards/"
	prefixClaims         = "v1/claims/"

	keyLocalULA           = "v1/local/ula"
	keyLocalEngineBridges = "v1/local/enginebridges"
	keyPoolFence          = "v1/poolfence"
)

// LocalNetworksPrefix returns the prefix of all network records of this host.
func LocalNetworksPrefix() string { return prefixLocalNetworks }

// LocalNetworkKey returns the key of one network record of this host.
func LocalNetworkKey(network string) string { return prefixLocalNetworks + network }

// LocalEndpointsPrefix returns the prefix of all endpoint records of this host.
func LocalEndpointsPrefix() string { return prefixLocalEndpoints }

// LocalEndpointKey returns the key of one endpoint record of this host.
func LocalEndpointKey(network, endpoint string) string {
	return prefixLocalEndpoints + network + "/" + endpoint
}

// LocalPortsPrefix returns the prefix of the host ports that containers of this host
// had.
func LocalPortsPrefix() string { return prefixLocalPorts }

// LocalPortsKey returns the key of the host ports that the container with an address
// on a network had.
func LocalPortsKey(network, addr string) string { return prefixLocalPorts + network + "/" + addr }

// LocalEngineBridgesKey returns the key of the devices of the engine's own networks on
// this host.
func LocalEngineBridgesKey() string { return keyLocalEngineBridges }

// LocalNamesPrefix returns the prefix of what the endpoints of this host are called.
func LocalNamesPrefix() string { return prefixLocalNames }

// LocalNamesKey returns the key of what one endpoint of this host is called.
func LocalNamesKey(network, endpoint string) string {
	return prefixLocalNames + network + "/" + endpoint
}

// LocalJournalPrefix returns the prefix of all that this host has still to say to the
// cluster store.
func LocalJournalPrefix() string { return prefixLocalJournal }

// LocalJournalKey returns the key of what is to be said of a key of the cluster store.
func LocalJournalKey(key string) string { return prefixLocalJournal + key }

// LocalULAKey returns the key of this host's own IPv6 prefix, of which networks
// without a given subnet take theirs.
func LocalULAKey() string { return keyLocalULA }

// PoolsPrefix returns the prefix of all address pools of an address space.
func PoolsPrefix(space string) string { return prefixPools + space + "/" }

// PoolKey returns the key of one pool's record. The slash of the subnet is
// written as an underscore, so that a pool is one step of the path.
func PoolKey(space, subnet string) string {
	return PoolsPrefix(space) + escapeSubnet(subnet) + "/pool"
}

// LeasesPrefix returns the prefix of all leases of a pool.
func LeasesPrefix(space, subnet string) string {
	return PoolsPrefix(space) + escapeSubnet(subnet) + "/leases/"
}

// LeaseKey returns the key of one leased address of a pool.
func LeaseKey(space, subnet, addr string) string { return LeasesPrefix(space, subnet) + addr }

// SplitPoolKey takes apart a key below [PoolsPrefix]: the subnet, and the address
// if the key is a lease's. It reports false for a key of neither form.
func SplitPoolKey(space, key string) (subnet, addr string, ok bool) {
	rest, ok := strings.CutPrefix(key, PoolsPrefix(space))
	if !ok {
		return "", "", false
	}
	escaped, rest, ok := strings.Cut(rest, "/")
	subnet = unescapeSubnet(escaped)
	if !ok || escaped == "" || escapeSubnet(subnet) != escaped {
		return "", "", false
	}
	if rest == "pool" {
		return subnet, "", true
	}
	addr, ok = strings.CutPrefix(rest, "leases/")
	if !ok || addr == "" || strings.Contains(addr, "/") {
		return "", "", false
	}
	return subnet, addr, true
}

func escapeSubnet(subnet string) string { return strings.ReplaceAll(subnet, "/", "_") }

func unescapeSubnet(escaped string) string { return strings.ReplaceAll(escaped, "_", "/") }

// ReservesPrefix returns the prefix of what this host may give out of a pool that all
// hosts share.
func ReservesPrefix(space, subnet string) string {
	return PoolsPrefix(space) + escapeSubnet(subnet) + "/reserve/"
}

// ReserveKey returns the key of what this host may give out of the 256 addresses that
// begin with base.
func ReserveKey(space, subnet, base string) string { return ReservesPrefix(space, subnet) + base }

// SplitReserveKey takes apart a key that [ReserveKey] made. It reports false for any
// other.
func SplitReserveKey(space, key string) (subnet, base string, ok bool) {
	rest, ok := strings.CutPrefix(key, PoolsPrefix(space))
	if !ok {
		return "", "", false
	}
	escaped, rest, ok := strings.Cut(rest, "/")
	base, isReserve := strings.CutPrefix(rest, "reserve/")
	return unescapeSubnet(escaped), base, ok && isReserve
}

// LocalLeavingPrefix returns the prefix of the shared pools that this host has still to
// leave.
func LocalLeavingPrefix() string { return prefixLocalLeaving }

// LocalLeavingKey returns the key that says that this host has to leave a shared pool.
func LocalLeavingKey(subnet string) string { return prefixLocalLeaving + escapeSubnet(subnet) }

// ClusterPoolsPrefix returns the prefix of the records of all pools that hosts share.
func ClusterPoolsPrefix() string { return prefixPools }

// ClusterPoolKey returns the key of the record of a pool that hosts share.
func ClusterPoolKey(subnet string) string { return prefixPools + escapeSubnet(subnet) }

// PoolFenceKey returns the key that changes whenever a shared pool is made: whoever
// makes one has seen all others.
func PoolFenceKey() string { return keyPoolFence }

// ShardsPrefix returns the prefix of who has which addresses of a shared pool.
func ShardsPrefix(subnet string) string { return prefixShards + escapeSubnet(subnet) + "/" }

// ShardKey returns the key of who has which of the 256 addresses that begin with base.
func ShardKey(subnet, base string) string { return ShardsPrefix(subnet) + base }

// ClaimsPrefix returns the prefix of what other hosts ask of a host.
func ClaimsPrefix(host string) string { return prefixClaims + host + "/" }

// ClaimKey returns the key by which a host is asked to give something of a shared pool:
// an address, or any.
func ClaimKey(host, subnet, what string) string {
	return ClaimsPrefix(host) + escapeSubnet(subnet) + "/" + what
}
