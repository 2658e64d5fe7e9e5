package store

import "strings"

// The keys in the cluster store, which all hosts share, and where this host keeps
// what it says and saw of them.
const (
	prefixHosts     = "v1/hosts/"
	prefixAlive     = "v1/alive/"
	prefixSuspects  = "v1/suspects/"
	prefixChanges   = "v1/changes/"
	prefixFences    = "v1/fences/"
	prefixNetworks  = "v1/networks/"
	prefixEndpoints = "v1/endpoints/"
	prefixVNIs      = "v1/vni/"
	prefixCollected = "v1/collected/"
	stepRemoved     = "removed"

	keyCreation = "v1/creation"

	prefixLocalOwn  = "v1/local/cluster/own/"
	prefixLocalSeen = "v1/local/cluster/seen/"
	prefixLocalJoin = "v1/local/cluster/join/"
	keyLocalHost    = "v1/local/cluster/host"
)

// HostKey returns the key of what a host says of itself.
func HostKey(host string) string { return prefixHosts + host }

// HostsPrefix returns the prefix of what all hosts say of themselves.
func HostsPrefix() string { return prefixHosts }

// AliveKey returns the key that a host's lease holds.
func AliveKey(host string) string { return prefixAlive + host }

// AlivePrefix returns the prefix of the keys of all hosts that live.
func AlivePrefix() string { return prefixAlive }

// SuspectKey returns the key that tells since when a host is not seen.
func SuspectKey(host string) string { return prefixSuspects + host }

// SuspectsPrefix returns the prefix of all hosts that are not seen.
func SuspectsPrefix() string { return prefixSuspects }

// ChangeKey returns the key that tells what a host changed last.
func ChangeKey(host string) string { return prefixChanges + host }

// ChangesPrefix returns the prefix of what all hosts changed last.
func ChangesPrefix() string { return prefixChanges }

// FenceKey returns the key of the fence of a host's journal.
func FenceKey(host string) string { return prefixFences + host }

// NetworkKey returns the key of a network that hosts share.
func NetworkKey(network string) string { return prefixNetworks + network }

// NetworksPrefix returns the prefix of all networks that hosts share, and of their
// removals.
func NetworksPrefix() string { return prefixNetworks }

// RemovalKey returns the key by which a host says that its user removed a network.
func RemovalKey(network, host string) string {
	return prefixNetworks + network + "/" + stepRemoved + "/" + host
}

// SplitNetworkKey takes apart a key below [NetworksPrefix]: the network, and the host
// that removed it if the key is a [RemovalKey].
func SplitNetworkKey(key string) (network, remover string, ok bool) {
	rest, ok := strings.CutPrefix(key, prefixNetworks)
	if !ok {
		return "", "", false
	}
	switch steps := strings.Split(rest, "/"); {
	case len(steps) == 1:
		return steps[0], "", true
	case len(steps) == 3 && steps[1] == stepRemoved && steps[2] != "":
		return steps[0], steps[2], true
	}
	return "", "", false
}

// MemberKey returns the key by which a host takes part in a network.
func MemberKey(network, host string) string { return prefixEndpoints + network + "/" + host }

// EndpointKey returns the key of one endpoint of a host.
func EndpointKey(network, host, endpoint string) string {
	return MemberKey(network, host) + "/" + endpoint
}

// MembersPrefix returns the prefix of all members of a network and their endpoints.
func MembersPrefix(network string) string { return prefixEndpoints + network + "/" }

// EndpointsPrefix returns the prefix of all members and endpoints.
func EndpointsPrefix() string { return prefixEndpoints }

// SplitEndpointKey takes apart a key below [EndpointsPrefix]; endpoint is empty for a
// [MemberKey].
func SplitEndpointKey(key string) (network, host, endpoint string, ok bool) {
	rest, ok := strings.CutPrefix(key, prefixEndpoints)
	if !ok {
		return "", "", "", false
	}
	switch steps := strings.Split(rest, "/"); len(steps) {
	case 2:
		return steps[0], steps[1], "", true
	case 3:
		return steps[0], steps[1], steps[2], steps[2] != ""
	}
	return "", "", "", false
}

// VNIKey returns the key of who has a VNI, a number in decimal.
func VNIKey(vni string) string { return prefixVNIs + vni }

// VNIsPrefix returns the prefix of all VNIs that are taken.
func VNIsPrefix() string { return prefixVNIs }

// CollectedKey returns the key that tells that a network was removed everywhere.
func CollectedKey(network string) string { return prefixCollected + network }

// CollectedPrefix returns the prefix of all networks that were removed everywhere.
func CollectedPrefix() string { return prefixCollected }

// CreationKey returns the key that every creation of a network changes.
func CreationKey() string { return keyCreation }

// LocalHostKey returns the key of this host's identity.
func LocalHostKey() string { return keyLocalHost }

// LocalOwnPrefix returns the prefix of all that this host says to the cluster store.
func LocalOwnPrefix() string { return prefixLocalOwn }

// LocalOwnKey returns where this host keeps what it says of a key.
func LocalOwnKey(key string) string { return prefixLocalOwn + key }

// LocalJoinPrefix returns the prefix of the networks that this host began to join.
func LocalJoinPrefix() string { return prefixLocalJoin }

// LocalJoinKey returns where this host keeps that it began to join a network.
func LocalJoinKey(network string) string { return prefixLocalJoin + network }

// LocalSeenPrefix returns the prefix of what was last seen in the cluster store.
func LocalSeenPrefix() string { return prefixLocalSeen }

// LocalSeenKey returns where this host keeps what it last saw of a key.
func LocalSeenKey(key string) string { return prefixLocalSeen + key }
