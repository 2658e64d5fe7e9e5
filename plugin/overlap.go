package plugin

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/ipam"
)

// owners knows whose the subnets are that cannot be had.
type owners struct {
	cluster viewer
	// name returns what a network of this host is called, "" if that is not known.
	name func(driver.NetworkID) string
}

// overlapError is [ipam.ErrOverlap] in the words that users know things by.
type overlapError struct {
	error

	text string
}

func (e overlapError) Error() string { return e.text }

func (e overlapError) Unwrap() error { return e.error }

// explain has the error that a subnet overlaps others name their networks, and the hosts
// that those are on. Other errors stay as they are.
func (o *owners) explain(err error) error {
	over, ok := errors.AsType[*ipam.OverlapError](err)
	if !ok || len(over.With) == 0 {
		return err
	}
	v := o.cluster.View()
	var all []string
	for _, taken := range over.With {
		all = append(all, o.owner(v, taken.Subnet, driver.NetworkID(taken.Network), taken.Hosts))
	}
	for _, n := range v.Networks() { // those that are not on this host
		for _, s := range n.Subnets {
			known := slices.ContainsFunc(over.With, func(t ipam.Taken) bool { return t.Subnet == s.Pool })
			if s.Pool.Overlaps(over.Subnet) && !known {
				all = append(all, o.owner(v, s.Pool, "", nil))
			}
		}
	}
	advice := "choose another --subnet"
	if len(over.With) == 1 && over.With[0].Subnet == over.Subnet {
		advice = "use that network, or choose another --subnet"
	}
	return overlapError{err, fmt.Sprintf("subnet %s overlaps %s; %s", over.Subnet, strings.Join(all, ", and "), advice)}
}

// owner says whose a subnet is: local is the network of this host that has it, if there
// is one, and hosts are those that are known to have it.
func (o *owners) owner(v *cluster.View, subnet netip.Prefix, local driver.NetworkID, hosts []string) string {
	name, id := "", local.Short()
	if local != "" {
		name = o.name(local)
	}
	for _, n := range v.Networks() {
		if !slices.ContainsFunc(n.Subnets, func(s cluster.Subnet) bool { return s.Pool == subnet }) {
			continue
		}
		name, id = cmp.Or(name, n.Name), cmp.Or(id, driver.NetworkID(n.ID).Short())
		for _, h := range append(v.Members(n.ID), n.Creator) {
			hosts = append(hosts, string(h))
		}
	}
	text := "the subnet " + subnet.String()
	if name != "" {
		text += fmt.Sprintf(" of network %q", name)
	} else if id != "" {
		text += " of network " + id
	}
	if len(hosts) == 0 {
		return text + " on this host"
	}
	return text + " on " + hostNames(v, hosts)
}

// hostNames returns what hosts are called, each once.
func hostNames(v *cluster.View, ids []string) string {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	all := make([]string, 0, len(ids))
	for _, id := range ids {
		name := driver.NetworkID(id).Short() // of one that is gone, or not heard of yet
		if h, ok := v.Host(cluster.HostID(id)); ok && h.Name != "" {
			name = h.Name
		}
		all = append(all, name)
	}
	slices.Sort(all)
	if len(all) == 1 {
		return "host " + all[0]
	}
	return "hosts " + strings.Join(all, ", ")
}
