package firewall

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
)

func (n Network) check() error {
	if err := checkDevice(n.Bridge); err != nil {
		return err
	}
	for _, device := range n.Trusted {
		if err := checkDevice(device); err != nil {
			return fmt.Errorf("trusted device of %s: %w", n.Bridge, err)
		}
	}
	for _, g := range []struct {
		Gateway

		is6 bool
	}{{n.IPv4, false}, {n.IPv6, true}} {
		if g.Source.IsValid() && (g.Source.Is6() != g.is6 || g.Source.Is4In6()) {
			return fmt.Errorf("network on %s: source %s is of the other family", n.Bridge, g.Source)
		}
	}
	return nil
}

// gateway returns the network's gateway for a family of addresses.
func (n Network) gateway(of netip.Addr) Gateway {
	if of.Is6() {
		return n.IPv6
	}
	return n.IPv4
}

// gatewayElements says what the gateways of a network are in the sets.
func (n Network) gatewayElements() []element {
	var out []element
	for _, g := range []struct {
		Gateway

		f family
	}{{n.IPv4, ipv4()}, {n.IPv6, ipv6()}} {
		if g.Routed {
			out = append(out, deviceElement(g.f.routed, n.Bridge))
		}
		if g.Unprotected {
			out = append(out, deviceElement(g.f.unprotected, n.Bridge))
		}
	}
	for _, device := range n.Trusted {
		out = append(out, pairElement(setTrusted, device, n.Bridge))
	}
	for _, p := range n.Subnets {
		f := ipv4()
		if p.Addr().Is6() {
			f = ipv6()
		}
		switch g := n.gateway(p.Addr()); {
		case g.Masquerade && g.Source.IsValid():
			out = append(out, subnetElements(f.source, p, string(g.Source.AsSlice()))...)
		case g.Masquerade:
			out = append(out, subnetElements(f.masq, p, "")...)
		}
	}
	return out
}

// entryRules judge what comes into a network of ours that nobody there asked for and
// that is not translated: it is dropped, unless the network's gateway lets it in.
func entryRules() []rule {
	var rules []rule
	for _, f := range []family{ipv4(), ipv6()} {
		rules = append(rules,
			newRule(oif("", f.routed), f.isPing(), goTo(chainPass)),
			newRule(oif("", f.routed), f.is(), f.toOpen(), goTo(chainPass)),
			newRule(devicePair(setTrusted), f.is(), f.toOpen(), goTo(chainPass)),
			newRule(oif("", f.unprotected), f.isShown(), goTo(chainPass)),
		)
	}
	// Not published: neither from outside, nor from other networks of ours or of the
	// engine's.
	return append(rules, newRule(count(), drop()))
}

// isPing matches the family's control messages, of which ping is one.
func (f family) isPing() part {
	return part{"meta l4proto " + f.icmpName, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: []byte{f.icmp}},
	}}
}

// toOpen matches packets to ports of containers that are open.
func (f family) toOpen() part {
	words := int(f.size / 4)
	return part{f.name + " daddr . meta l4proto . th dport @" + f.open, []expr.Any{
		f.load(f.dst, reg(0)),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg(words)},
		&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2, DestRegister: reg(words + 1)},
		&expr.Lookup{SourceRegister: reg(0), SetName: f.open},
	}}
}

// fromSource changes the source to what the map of subnets has for it, if it has
// anything.
func (f family) fromSource() part {
	return part{"snat " + f.name + " to " + f.name + " saddr map @" + f.source, []expr.Any{
		f.load(f.src, reg(0)),
		&expr.Lookup{SourceRegister: reg(0), DestRegister: reg(0), IsDestRegSet: true, SetName: f.source},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: uint32(f.nfproto), RegAddrMin: reg(0)},
	}}
}
