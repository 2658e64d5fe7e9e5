package cluster

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// NetworkID names a network in the cluster: the id that the engine of the host that
// made it gave it.
type NetworkID string

// idDigits is the length of the engine's ids.
const idDigits = 64

// maxVNI is the largest VNI that VXLAN has (RFC 7348 section 5).
const maxVNI = 1<<24 - 1

// Subnet is a subnet of a network.
type Subnet struct {
	Pool netip.Prefix `json:"pool"`
	// Range bounds the addresses that are chosen; the zero value means all of Pool.
	Range netip.Prefix `json:"range,omitzero"`
	// Gateway is the zero value when the network has none there.
	Gateway netip.Addr `json:"gateway,omitzero"`
	// Aux are reserved addresses by the name that the user gave them.
	Aux map[string]netip.Addr `json:"aux,omitempty"`
}

// Network is a network that hosts share.
type Network struct {
	ID NetworkID `json:"id"`
	// Name and Labels are known when Complete is set.
	Name   string            `json:"name,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	// Options are what the user said with -o.
	Options     map[string]string `json:"options,omitempty"`
	IPAMOptions map[string]string `json:"ipamOptions,omitempty"`
	Subnets     []Subnet          `json:"subnets"`
	VNI         uint32            `json:"vni"`
	MTU         int               `json:"mtu,omitempty"`
	Internal    bool              `json:"internal,omitempty"`
	Attachable  bool              `json:"attachable,omitempty"`
	IPv4        bool              `json:"ipv4,omitempty"`
	IPv6        bool              `json:"ipv6,omitempty"`
	// Creator is the host that made it, or made it anew.
	Creator HostID    `json:"creator"`
	Created time.Time `json:"created"`
	// Generation grows when a network that was removed is made anew before it is
	// gone everywhere; older removals mean nothing then.
	Generation uint64 `json:"generation"`
	Complete   bool   `json:"complete,omitempty"`
}

func (n Network) check() error {
	if !validHex(string(n.ID), idDigits) {
		return fmt.Errorf("network id %q is not %d hexadecimal digits", n.ID, idDigits)
	}
	if n.VNI == 0 || n.VNI > maxVNI {
		return fmt.Errorf("network %s: VNI %d is not between 1 and %d", n.ID, n.VNI, maxVNI)
	}
	return checkSubnets(n.Subnets)
}

func checkSubnets(subnets []Subnet) error {
	if len(subnets) == 0 {
		return errors.New("a network that hosts share has a subnet")
	}
	for i, s := range subnets {
		if !s.Pool.IsValid() || s.Pool != s.Pool.Masked() {
			return fmt.Errorf("%s is no subnet", s.Pool)
		}
		for _, o := range subnets[:i] {
			if s.Pool.Overlaps(o.Pool) {
				return fmt.Errorf("subnets %s and %s overlap", o.Pool, s.Pool)
			}
		}
	}
	return nil
}

func (n Network) equal(o Network) bool {
	sameSubnets := slices.EqualFunc(n.Subnets, o.Subnets, func(a, b Subnet) bool {
		return a.Pool == b.Pool && a.Range == b.Range && a.Gateway == b.Gateway && maps.Equal(a.Aux, b.Aux)
	})
	return sameSubnets && n.ID == o.ID && n.Name == o.Name && maps.Equal(n.Labels, o.Labels) && maps.Equal(n.Options, o.Options) &&
		maps.Equal(n.IPAMOptions, o.IPAMOptions) && n.VNI == o.VNI && n.MTU == o.MTU && n.Internal == o.Internal &&
		n.Attachable == o.Attachable && n.IPv4 == o.IPv4 && n.IPv6 == o.IPv6 && n.Creator == o.Creator &&
		n.Created.Equal(o.Created) && n.Generation == o.Generation && n.Complete == o.Complete
}

// label is what people know the network by.
func (n Network) label() string {
	if n.Name != "" {
		return fmt.Sprintf("%q (%s)", n.Name, short(n.ID))
	}
	return short(n.ID)
}

// short is an id as people read it.
func short[ID ~string](id ID) string { return string(id[:min(len(id), 12)]) }

// NetworkSpec is a network that a host wants to take part in. What is the zero value
// is not asked for, but for the flags.
type NetworkSpec struct {
	// ID is the id that this host's engine gave it; it becomes that of the cluster
	// when the network is new.
	ID          NetworkID
	Options     map[string]string
	IPAMOptions map[string]string
	// Subnets are as the engine names them, IPv4 first. The first decides which
	// network of the cluster is meant.
	Subnets              []Subnet
	VNI                  uint32
	MTU                  int
	Internal, IPv4, IPv6 bool
}

func (s NetworkSpec) check() error {
	if !validHex(string(s.ID), idDigits) {
		return fmt.Errorf("network id %q is not %d hexadecimal digits", s.ID, idDigits)
	}
	if s.VNI > maxVNI {
		return fmt.Errorf("VNI %d: want 1 to %d", s.VNI, maxVNI)
	}
	return checkSubnets(s.Subnets)
}

// contradicts returns an error that names all that n is otherwise than asked for.
func (s NetworkSpec) contradicts(n Network) error {
	var diff []string
	differ := func(what string, asked, have any) {
		diff = append(diff, fmt.Sprintf("%s %v is %v there", what, asked, have))
	}
	if !slices.EqualFunc(s.Subnets, n.Subnets, Subnet.agrees) {
		differ("subnets", printSubnets(s.Subnets), printSubnets(n.Subnets))
	}
	if s.VNI != 0 && s.VNI != n.VNI {
		differ("VNI", s.VNI, n.VNI)
	}
	if s.MTU != 0 && s.MTU != n.MTU {
		differ("MTU", s.MTU, n.MTU)
	}
	if s.Internal != n.Internal {
		differ("internal", s.Internal, n.Internal)
	}
	if s.IPv4 != n.IPv4 {
		differ("IPv4", s.IPv4, n.IPv4)
	}
	if s.IPv6 != n.IPv6 {
		differ("IPv6", s.IPv6, n.IPv6)
	}
	for _, key := range slices.Sorted(maps.Keys(s.Options)) {
		if have, ok := n.Options[key]; !ok || have != s.Options[key] {
			differ("option "+key, fmt.Sprintf("%q", s.Options[key]), fmt.Sprintf("%q", have))
		}
	}
	if len(diff) == 0 {
		return nil
	}
	return fmt.Errorf("network %s of the cluster has subnet %s, and what was asked for %w: %s; ask for the same, or for another subnet",
		n.label(), n.Subnets[0].Pool, ErrContradiction, strings.Join(diff, ", "))
}

// agrees reports whether a subnet that is asked for can be the one that is there.
func (s Subnet) agrees(have Subnet) bool {
	return s.Pool == have.Pool && s.Range == have.Range && (!s.Gateway.IsValid() || s.Gateway == have.Gateway)
}

func printSubnets(subnets []Subnet) string {
	all := make([]string, 0, len(subnets))
	for _, s := range subnets {
		text := s.Pool.String()
		if s.Range.IsValid() {
			text += " range " + s.Range.String()
		}
		if s.Gateway.IsValid() {
			text += " gateway " + s.Gateway.String()
		}
		all = append(all, text)
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// member is the record by which a host takes part in a network.
type member struct {
	Generation uint64 `json:"generation"`
}

func (m member) check() error { return nil }

// removal is the record by which a host says that its user removed a network.
type removal struct {
	Generation uint64    `json:"generation"`
	At         time.Time `json:"at"`
}

func (r removal) check() error { return nil }

// vniRecord is the record of who has a VNI.
type vniRecord struct {
	Network NetworkID `json:"network"`
}
