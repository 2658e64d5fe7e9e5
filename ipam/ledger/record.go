package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ournet/ournet/internal/addrset"
	"github.com/ournet/ournet/internal/store"
)

// recordVersion is the version of every value that this package writes.
const recordVersion = 1

// errNewer says that a value was written by a later version of ournet.
var errNewer = errors.New("written by a newer version of ournet; upgrade this host")

// Pool is the record of a pool that hosts share.
type Pool struct {
	Version int          `json:"v"`
	Subnet  netip.Prefix `json:"subnet"`
	// Range bounds the addresses that are chosen for containers; not valid means
	// the whole subnet.
	Range netip.Prefix `json:"range,omitzero"`
	// Gateway and Aux belong to the network, on all hosts.
	Gateway netip.Addr   `json:"gateway,omitzero"`
	Aux     []netip.Addr `json:"aux,omitempty"`
	// Hosts are the hosts that have the pool. Without any it is being removed.
	Hosts   map[string]Member `json:"hosts"`
	Created time.Time         `json:"created"`
}

// Member is one host's part in a pool.
type Member struct {
	// Leaving says that the host's addresses are being freed; it gets no more.
	Leaving bool `json:"leaving,omitempty"`
}

// shared returns the addresses of the shard of base that belong to the network.
func (p Pool) shared(base netip.Addr) Bits {
	var b Bits
	for _, a := range append(slices.Clone(p.Aux), p.Gateway) {
		if a.IsValid() && Base(a) == base {
			b = b.Or(Only(a))
		}
	}
	return b
}

// role says what an address that belongs to the network is there, "" if it does not.
func (p Pool) role(a netip.Addr) string {
	switch {
	case p.Gateway == a:
		return "the gateway"
	case slices.Contains(p.Aux, a):
		return "an auxiliary address"
	default:
		return ""
	}
}

// has reports whether the host takes part and may take addresses.
func (p Pool) has(host string) bool {
	m, ok := p.Hosts[host]
	return ok && !m.Leaving
}

// hostNames returns who has the pool, for a user to read.
func (p Pool) hostNames() string {
	if len(p.Hosts) == 0 {
		return "no host any more"
	}
	return "host " + strings.Join(slices.Sorted(maps.Keys(p.Hosts)), ", ")
}

// used returns how many of the addresses of r are not free in the shards.
func (p Pool) used(r addrset.Range, shards map[netip.Addr]sheet) uint64 {
	n := 0
	for base, s := range shards {
		n += s.all().Or(p.shared(base)).And(Within(base, r)).Len()
	}
	for _, a := range append(slices.Clone(p.Aux), p.Gateway) {
		if _, counted := shards[baseOf(a)]; a.IsValid() && !counted && r.Contains(a) {
			n++
		}
	}
	return uint64(n)
}

// baseOf is [Base] of an address that may be none.
func baseOf(a netip.Addr) netip.Addr {
	if !a.IsValid() {
		return a
	}
	return Base(a)
}

// shardRecord says which host has which addresses of a shard.
type shardRecord struct {
	Version int             `json:"v"`
	Hosts   map[string]Bits `json:"hosts"`
}

// sheet is a shard as it was read.
type sheet struct {
	hosts map[string]Bits
	index store.Index
}

// all returns the addresses that some host has.
func (s sheet) all() Bits {
	var b Bits
	for _, h := range s.hosts {
		b = b.Or(h)
	}
	return b
}

// holder returns the host that has a.
func (s sheet) holder(a netip.Addr) string {
	for host, b := range s.hosts {
		if b.Has(a) {
			return host
		}
	}
	return ""
}

// with returns the holders with b as what the host has.
func (s sheet) with(host string, b Bits) map[string]Bits {
	hosts := maps.Clone(s.hosts)
	if hosts == nil {
		hosts = make(map[string]Bits)
	}
	hosts[host] = b
	if b == (Bits{}) {
		delete(hosts, host)
	}
	return hosts
}

func encode(record any) ([]byte, error) {
	value, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return value, nil
}

// decode looks at the version first: what a later version wrote is [errNewer],
// whatever else is in it.
func decode(value []byte, record any) error {
	var head struct {
		Version int `json:"v"`
	}
	if err := json.Unmarshal(value, &head); err != nil {
		return fmt.Errorf("decode record: %w", err)
	}
	if head.Version > recordVersion {
		return fmt.Errorf("version %d: %w", head.Version, errNewer)
	}
	if head.Version != recordVersion {
		return fmt.Errorf("decode record: version %d", head.Version)
	}
	if err := json.Unmarshal(value, record); err != nil {
		return fmt.Errorf("decode record: %w", err)
	}
	return nil
}

func decodePool(subnet netip.Prefix, value []byte) (Pool, error) {
	var p Pool
	if err := decode(value, &p); err != nil {
		return Pool{}, fmt.Errorf("pool %s: %w", subnet, err)
	}
	if p.Subnet != subnet {
		return Pool{}, fmt.Errorf("pool %s: decode record: subnet %s is not that of its key", subnet, p.Subnet)
	}
	return p, nil
}

func decodeShard(key string, value []byte) (map[string]Bits, error) {
	var r shardRecord
	if err := decode(value, &r); err != nil {
		return nil, fmt.Errorf("shard %s: %w", key, err)
	}
	var seen Bits
	for host, b := range r.Hosts {
		if seen.And(b) != (Bits{}) {
			return nil, fmt.Errorf("shard %s: decode record: host %s has addresses of another", key, host)
		}
		seen = seen.Or(b)
	}
	return r.Hosts, nil
}
