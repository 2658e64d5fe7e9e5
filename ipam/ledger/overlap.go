package ledger

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// OverlapError is [ErrOverlap] with what is in the way.
type OverlapError struct {
	// Subnet is the one that was asked for.
	Subnet netip.Prefix
	// With are those that it overlaps.
	With []Taken
}

// Taken is a subnet that is in use.
type Taken struct {
	Subnet netip.Prefix
	// Hosts have it, by their ids in the cluster.
	Hosts []string
	// Network is the network of this host that has it, "" if there is none.
	Network string
}

// Error implements error.
func (e *OverlapError) Error() string {
	all := make([]string, 0, len(e.With))
	for _, t := range e.With {
		all = append(all, t.String())
	}
	return fmt.Sprintf("subnet %s %v %s; choose another --subnet", e.Subnet, ErrOverlap, strings.Join(all, " and "))
}

// Is makes it [ErrOverlap].
func (*OverlapError) Is(target error) bool { return target == ErrOverlap }

func (t Taken) String() string {
	switch {
	case t.Network != "":
		return fmt.Sprintf("the subnet %s of network %s", t.Subnet, t.Network[:min(len(t.Network), 12)])
	case len(t.Hosts) > 0:
		return fmt.Sprintf("the subnet %s that the cluster has on host %s", t.Subnet, strings.Join(t.Hosts, ", "))
	default:
		return fmt.Sprintf("the subnet %s", t.Subnet)
	}
}

// overlapError names all pools of the cluster that are in the way of a subnet.
func overlapError(subnet netip.Prefix, have []Entry) error {
	e := &OverlapError{Subnet: subnet}
	for _, p := range have {
		if p.Subnet.Overlaps(subnet) && len(p.Hosts) > 0 {
			e.With = append(e.With, Taken{Subnet: p.Subnet, Hosts: slices.Sorted(maps.Keys(p.Hosts))})
		}
	}
	return e
}
