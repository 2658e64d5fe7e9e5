package store

import "strings"

// The key schema, whole. Every value is versioned JSON; a value of an unknown
// future version is skipped by its reader with one warning.
//
// Records of this host alone are under "v1/local/": the engine's network and
// endpoint ids mean nothing on another host. Pools are under "v1/pools/".
const (
	prefixLocalNetworks  = "v1/local/networks/"
	prefixLocalEndpoints = "v1/local/endpoints/"
	prefixLocalPorts     = "v1/local/ports/"
	prefixLocalJournal   = "v1/local/journal/"
	prefixPools          = "v1/pools/"

	keyLocalULA = "v1/local/ula"
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
	subnet = strings.ReplaceAll(escaped, "_", "/")
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
