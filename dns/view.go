package dns

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
)

// view is what one sandbox may ask, and never changes.
type view struct {
	zones []*zone // in the sandbox's order
	// bySuffix are those zones whose name can be asked for, the shortest first:
	// for a.b.c, network c is tried before network b.c, as by the engine.
	bySuffix []*zone
	links    map[string][]linked
	// confined is [Sandbox.Confined].
	confined bool
	// unsettled says that there are names on its networks that are not known yet.
	unsettled bool
}

// linked is where a private name leads to.
type linked struct {
	owner *owner
	ttl   uint32
}

// found is what a lookup found.
type found struct {
	// owned says that the name exists, though perhaps not with such addresses.
	owned bool
	// set is nil if it has none of that family.
	set *rrset
	ttl uint32
}

func newView(s Sandbox, zones map[NetworkID]*zone) *view {
	v := &view{confined: s.Confined}
	for _, id := range s.Networks {
		if z, ok := zones[id]; ok && !slices.Contains(v.zones, z) {
			v.zones = append(v.zones, z)
		}
	}
	for _, z := range v.zones {
		v.unsettled = v.unsettled || z.unsettled
		if z.suffix != "" {
			v.bySuffix = append(v.bySuffix, z)
		}
	}
	slices.SortStableFunc(v.bySuffix, func(a, b *zone) int { return cmp.Compare(len(a.suffix), len(b.suffix)) })
	for _, l := range s.Links {
		// A link leads nowhere once the sandbox has left the network.
		if z, ok := zones[l.Network]; ok && slices.Contains(s.Networks, l.Network) {
			v.addLink(l, z)
		}
	}
	return v
}

func (v *view) addLink(l Link, z *zone) {
	alias, ok := canonical(l.Alias)
	if !ok {
		return
	}
	target, ok := canonical(l.Target)
	if !ok {
		return
	}
	o, ok := z.owners[target]
	if !ok {
		return
	}
	if v.links == nil {
		v.links = make(map[string][]linked)
	}
	to := linked{owner: o, ttl: z.ttl}
	v.links[alias] = append(v.links[alias], to)
	if z.suffix != "" {
		v.links[alias+z.suffix] = append(v.links[alias+z.suffix], to)
	}
}

// find looks up a canonical name. A private link comes before what others call
// the same; the name as it stands before its parts as name and network.
func (v *view) find(name []byte, f family) found {
	if to, ok := v.links[string(name)]; ok {
		return findLinked(to, f)
	}
	var r found
	for _, z := range v.zones {
		if z.find(name, f, &r) {
			return r
		}
	}
	if r.owned || bytes.IndexByte(name, '.') < 0 {
		return r
	}
	for _, z := range v.bySuffix {
		cut := len(name) - len(z.suffix)
		if cut > 0 && string(name[cut:]) == z.suffix && z.find(name[:cut], f, &r) {
			return r
		}
	}
	return r
}

// find adds what the zone has of a name, and reports whether it has addresses. A
// network that has the name without the family leaves the addresses to the next.
func (z *zone) find(name []byte, f family, r *found) bool {
	o, ok := z.owners[string(name)]
	if !ok {
		return false
	}
	r.owned = true
	if set := o.set(f); len(set.rdata) > 0 {
		r.set, r.ttl = set, z.ttl
		return true
	}
	return false
}

func findLinked(to []linked, f family) found {
	for _, l := range to {
		if set := l.owner.set(f); len(set.rdata) > 0 {
			return found{owned: true, set: set, ttl: l.ttl}
		}
	}
	return found{owned: true}
}

// reverse is one name that an address resolves back to.
type reverse struct {
	name string
	ttl  uint32
}

// reverse returns the names of an address: the bare ones first, which programs
// take for the host's name, then the same with the network's.
func (v *view) reverse(a netip.Addr) []reverse {
	var bare, long []reverse
	for _, z := range v.zones {
		for _, name := range z.addrs[a] {
			if !slices.ContainsFunc(bare, func(r reverse) bool { return r.name == name }) {
				bare = append(bare, reverse{name, z.ttl})
			}
			if z.suffix != "" {
				long = append(long, reverse{name + z.suffix, z.ttl})
			}
		}
	}
	return append(bare, long...)
}
