package dns

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// zone is everything that can be asked of one network. It never changes, but for
// whose turn it is to come first.
type zone struct {
	// suffix is a dot and the network's name; "" for one that cannot be asked for.
	suffix string
	ttl    uint32
	owners map[string]*owner // by canonical name
	// addrs has the names that an address resolves back to.
	addrs map[netip.Addr][]string
	// unsettled says that there is something whose name is not known yet: an endpoint or
	// the network itself.
	unsettled bool
}

// owner is what one name has, of all endpoints that have the name.
type owner struct {
	v4, v6 rrset
}

// rrset is the addresses of one family, as an answer carries them.
type rrset struct {
	// rdata is one address after the other, sorted, each once.
	rdata []byte
	// turn counts answers. Each begins one address further on, so that clients
	// that take the first spread over all. One counter for each set: a client
	// that asks for A and AAAA in turn would else always get the same of both.
	turn atomic.Uint32
}

// family is the kind of address that is asked for.
type family int

const (
	ipv4 family = iota
	ipv6
)

// size is the length of an address.
func (f family) size() int {
	if f == ipv4 {
		return 4
	}
	return 16
}

// set returns the addresses of that family.
func (o *owner) set(f family) *rrset {
	if f == ipv4 {
		return &o.v4
	}
	return &o.v6
}

// first returns where the next answer begins, in addresses.
func (s *rrset) first(count int) int {
	if count < 2 {
		return 0
	}
	return int((s.turn.Add(1) - 1) % uint32(count)) //nolint:gosec // more than 2^32 addresses do not fit
}

// newZone returns the zone of a network with these endpoints.
func newZone(n Network, endpoints []Endpoint) *zone {
	z := &zone{
		ttl: seconds(n.TTL), unsettled: n.Name == "", owners: make(map[string]*owner), addrs: make(map[netip.Addr][]string),
	}
	if name, ok := canonical(n.Name); ok {
		z.suffix = "." + name
	}
	collected := make(map[string][]netip.Addr)
	for _, ep := range endpoints {
		addrs := cleanAddrs(ep.Addrs)
		for _, name := range cleanNames(ep) {
			collected[name] = append(collected[name], addrs...)
		}
		z.addReverse(ep.Name, addrs)
		z.unsettled = z.unsettled || ep.Name == ""
	}
	for name, addrs := range collected {
		z.owners[name] = newOwner(addrs)
	}
	for _, names := range z.addrs {
		slices.Sort(names) // the same on every host
	}
	return z
}

func newOwner(addrs []netip.Addr) *owner {
	slices.SortFunc(addrs, netip.Addr.Compare)
	o := &owner{}
	for _, a := range slices.Compact(addrs) {
		if a.Is4() {
			o.v4.rdata = append(o.v4.rdata, a.AsSlice()...)
		} else {
			o.v6.rdata = append(o.v6.rdata, a.AsSlice()...)
		}
	}
	return o
}

func (z *zone) addReverse(name string, addrs []netip.Addr) {
	if _, ok := canonical(name); !ok {
		return
	}
	name = strings.TrimSuffix(name, ".")
	for _, a := range addrs {
		if !slices.Contains(z.addrs[a], name) {
			z.addrs[a] = append(z.addrs[a], name)
		}
	}
}

// cleanNames returns all names of an endpoint that can be asked for, each once.
func cleanNames(ep Endpoint) []string {
	var names []string
	for _, s := range append([]string{ep.Name}, ep.Aliases...) {
		if name, ok := canonical(s); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// cleanAddrs returns the addresses in the form in which they are compared.
func cleanAddrs(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if a.IsValid() {
			out = append(out, a.Unmap().WithZone(""))
		}
	}
	return out
}

// seconds is a TTL as it is on the wire: RFC 2181 s8 has 31 bits for it.
func seconds(d time.Duration) uint32 {
	s := int64(d / time.Second)
	return uint32(min(max(s, 0), 1<<31-1))
}
