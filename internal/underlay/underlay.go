// Package underlay finds the addresses of this host by which the other hosts of a
// cluster reach it. It asks the kernel alone and sends nothing to anybody, but for
// the query that the name of a cluster store takes.
//
// It knows nothing of what is sent between hosts, nor of the cluster's records.
package underlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// lookupTime bounds the query for the name of a cluster store.
const lookupTime = 2 * time.Second

// The destinations that tell which address packets to the world carry: addresses for
// documentation (RFC 5737, RFC 3849), to which nothing is ever sent. The port is
// discard's.
const (
	worldIPv4 = "192.0.2.1:9"
	worldIPv6 = "[2001:db8::1]:9"
)

// ErrNone says that the host has no address that would do.
var ErrNone = errors.New("no address of this host for packets between hosts")

// Find returns the host's addresses, at most one of each family, IPv4 first.
//
// They are what advertise says: addresses, devices or subnets of this host, separated
// by commas. If it is empty it is the address that packets to the first store carry
// that can be reached otherwise than within the host, or else packets to the world.
func Find(ctx context.Context, advertise string, stores []string) ([]netip.Addr, error) {
	if advertise == "" {
		return towards(ctx, stores)
	}
	own, err := addresses()
	if err != nil {
		return nil, err
	}
	return pick(advertise, own)
}

// Has reports whether this host has all of the addresses.
func Has(all []netip.Addr) (bool, error) {
	own, err := addresses()
	if err != nil {
		return false, err
	}
	for _, want := range all {
		if !slices.ContainsFunc(own, func(a address) bool { return a.prefix.Addr().Unmap() == want.Unmap() }) {
			return false, nil
		}
	}
	return true, nil
}

// address is one address of a device.
type address struct {
	device string
	prefix netip.Prefix
}

// addresses returns those that other hosts can reach, in the kernel's order.
func addresses() ([]address, error) {
	devices, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list this host's devices: %w", err)
	}
	var all []address
	for _, d := range devices {
		list, err := d.Addrs()
		if err != nil {
			return nil, fmt.Errorf("list the addresses of %s: %w", d.Name, err)
		}
		for _, a := range list {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && usable(p.Addr().Unmap()) {
				all = append(all, address{d.Name, p})
			}
		}
	}
	return all, nil
}

// usable refuses addresses that are not for the packets of another host.
func usable(a netip.Addr) bool {
	return a.IsGlobalUnicast() // neither loopback, link-local, multicast nor unspecified
}

// pick returns the addresses among own that advertise says.
func pick(advertise string, own []address) ([]netip.Addr, error) {
	var found []netip.Addr
	for word := range strings.SplitSeq(advertise, ",") {
		word = strings.TrimSpace(word)
		matches := match(word)
		n := len(found)
		for _, a := range own {
			addr := a.prefix.Addr().Unmap()
			if matches(a) && !slices.ContainsFunc(found, func(f netip.Addr) bool { return f.Is4() == addr.Is4() }) {
				found = append(found, addr)
			}
		}
		if len(found) == n {
			return nil, fmt.Errorf("CLUSTER_ADVERTISE=%q: %q is no address, device or subnet of this host that is not taken by another word of it; "+
				"this host has %s: set one of them", advertise, word, describe(own))
		}
	}
	slices.SortFunc(found, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return found, nil
}

// match returns whether an address is what a word of advertise says.
func match(word string) func(address) bool {
	if addr, err := netip.ParseAddr(word); err == nil {
		return func(a address) bool { return a.prefix.Addr().Unmap() == addr.Unmap() }
	}
	if subnet, err := netip.ParsePrefix(word); err == nil {
		return func(a address) bool { return subnet.Masked().Contains(a.prefix.Addr().Unmap()) }
	}
	return func(a address) bool { return a.device == word }
}

// describe lists addresses for people.
func describe(own []address) string {
	if len(own) == 0 {
		return "none at all"
	}
	words := make([]string, 0, len(own))
	for _, a := range own {
		words = append(words, a.prefix.Addr().String()+" ("+a.device+")")
	}
	return strings.Join(words, ", ")
}

// towards returns the address that packets to the stores carry. A store on this host
// itself, an agent of Consul's mostly, does not tell; then the way to the world does.
func towards(ctx context.Context, stores []string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	var why []string
	for _, to := range append(slices.Clone(stores), worldIPv4, worldIPv6) {
		addr, err := source(ctx, to)
		if err != nil {
			why = append(why, err.Error())
			continue
		}
		if usable(addr) {
			return []netip.Addr{addr}, nil
		}
	}
	return nil, fmt.Errorf("%w: set CLUSTER_ADVERTISE to the address, device or subnet that the other hosts reach (%s)", ErrNone, strings.Join(why, "; "))
}

// source returns the address that packets to a destination carry: a connected UDP
// socket has it, and connecting one sends nothing.
func source(ctx context.Context, to string) (_ netip.Addr, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", to)
	if err != nil {
		return netip.Addr{}, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	return local.Addr().Unmap(), err
}
