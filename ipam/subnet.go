package ipam

import (
	"fmt"
	"net/netip"

	"github.com/ournet/ournet/internal/addrset"
)

// hosts returns the addresses of subnet that an interface may have.
//
// IPv4: all but the network and the broadcast address; a /31 has neither (RFC
// 3021), nor has a /32. IPv6: all but the subnet-router anycast address, which is
// the one with a zero host part (RFC 4291 section 2.6.1); a /127 has none in use
// (RFC 6164 section 5).
func hosts(subnet netip.Prefix) addrset.Range {
	r := addrset.RangeOf(subnet)
	if subnet.Addr().BitLen()-subnet.Bits() < 2 {
		return r
	}
	r.First = r.First.Next()
	if subnet.Addr().Is4() {
		r.Last = r.Last.Prev()
	}
	return r
}

// checkSubnet reports why p cannot be the subnet of a pool of that family.
func checkSubnet(p netip.Prefix, v6 bool) error {
	if err := checkCanonical("subnet", p); err != nil {
		return err
	}
	switch a := p.Addr(); {
	case a.Is6() != v6:
		return familyError(p)
	case p.Bits() == 0, a.IsMulticast(), a.IsLoopback(), a.Is4() && a.As4()[0] == 0:
		return fmt.Errorf("%w: subnet %s has no addresses that a container can have", ErrRequest, p)
	}
	return nil
}

func familyError(p netip.Prefix) error {
	if p.Addr().Is6() {
		return fmt.Errorf("%w: subnet %s is IPv6, but an IPv4 one was asked for; give the network --ipv6", ErrRequest, p)
	}
	return fmt.Errorf("%w: subnet %s is IPv4, but an IPv6 one was asked for", ErrRequest, p)
}

// checkLength reports why a subnet of that length and family cannot be chosen.
func checkLength(p netip.Prefix, v6 bool) error {
	if err := checkCanonical("subnet", p); err != nil {
		return err
	}
	switch {
	case p.Addr().Is6() != v6:
		return familyError(p)
	case p.Bits() > longest(p):
		return fmt.Errorf("%w: subnet %s asks for any subnet of that length, which is at most %d", ErrRequest, p, longest(p))
	}
	return nil
}

// checkCanonical refuses host bits, as the engine does since version 29, and
// says what to write.
func checkCanonical(what string, p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return fmt.Errorf("%w: %s is not valid", ErrRequest, what)
	case p.Addr().Is4In6():
		return fmt.Errorf("%w: %s %s is an IPv4 address in IPv6 form; write it as IPv4", ErrRequest, what, p)
	case p != p.Masked():
		return fmt.Errorf("%w: %s %s has bits set beyond its length; write %s", ErrRequest, what, p, p.Masked())
	}
	return nil
}

// within reports whether inner lies whole in outer.
func within(inner, outer netip.Prefix) bool {
	return inner.Bits() >= outer.Bits() && outer.Contains(inner.Addr())
}

// checkRange reports why r cannot bound the addresses of a pool with that
// subnet; a range that is not given can.
func checkRange(r, subnet netip.Prefix) error {
	if !r.IsValid() {
		return nil
	}
	if err := checkCanonical("range", r); err != nil {
		return err
	}
	if !within(r, subnet) {
		return fmt.Errorf("%w: range %s is not in subnet %s", ErrRequest, r, subnet)
	}
	if !hosts(subnet).Intersect(addrset.RangeOf(r)).IsValid() {
		return fmt.Errorf("%w: range %s has no address of subnet %s that a container can have", ErrRequest, r, subnet)
	}
	return nil
}
