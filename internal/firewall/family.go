package firewall

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// family is what differs between IPv4 and IPv6 in our rules.
type family struct {
	name string // as nft names it
	// nfproto is the kernel's number of the family.
	nfproto byte
	// src and dst are where the addresses are in the header, size their length.
	src, dst, size uint32
	// ports and any are the maps of published ports, open the ports that are reached
	// at containers' own addresses, masq the subnets to masquerade, source those that
	// get a certain address.
	ports, any, open, masq, source string
	// routed and unprotected are the networks whose gateways are so.
	routed, unprotected string
	// icmp is the number of the family's control messages, icmpName nft's for it.
	icmp     byte
	icmpName string
	// loopback is the prefix of the addresses that never leave a host.
	loopback     string
	loopbackMask []byte
	loopbackData []byte
}

func ipv4() family {
	return family{
		name: "ip", nfproto: unix.NFPROTO_IPV4, src: 12, dst: 16, size: 4,
		ports: mapPorts4, any: mapAny4, open: setOpen4, masq: setMasq4, source: mapSource4,
		routed: setRouted4, unprotected: setUnprotect4, icmp: unix.IPPROTO_ICMP, icmpName: "icmp",
		loopback: "127.0.0.0/8", loopbackMask: []byte{255, 0, 0, 0}, loopbackData: []byte{127, 0, 0, 0},
	}
}

func ipv6() family {
	one := make([]byte, 16)
	one[15] = 1
	return family{
		name: "ip6", nfproto: unix.NFPROTO_IPV6, src: 8, dst: 24, size: 16,
		ports: mapPorts6, any: mapAny6, open: setOpen6, masq: setMasq6, source: mapSource6,
		routed: setRouted6, unprotected: setUnprotect6, icmp: unix.IPPROTO_ICMPV6, icmpName: "ipv6-icmp",
		loopback: "::1", loopbackData: one,
	}
}

// is matches packets of the family. nft shows it only where no other part of the
// rule implies it, which is nowhere in ours.
func (f family) is() part {
	return part{exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: []byte{f.nfproto}},
	}}
}

// isShown is is where nft does show it.
func (f family) isShown() part {
	p := f.is()
	p.text = map[byte]string{unix.NFPROTO_IPV4: "meta nfproto ipv4", unix.NFPROTO_IPV6: "meta nfproto ipv6"}[f.nfproto]
	return p
}

// etherType is the protocol's number on Ethernet.
func (f family) etherType() uint16 {
	if f.nfproto == unix.NFPROTO_IPV4 {
		return unix.ETH_P_IP
	}
	return unix.ETH_P_IPV6
}

func (f family) load(offset, register uint32) expr.Any {
	return &expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.size, DestRegister: register}
}

// fromSubnet matches packets whose source is in the set.
func (f family) fromSubnet(set string) part {
	return part{f.name + " saddr @" + set, []expr.Any{
		f.load(f.src, reg(0)),
		&expr.Lookup{SourceRegister: reg(0), SetName: set},
	}}
}

// fromLoopback and toLoopback match the host's loopback addresses.
func (f family) fromLoopback() part { return f.atLoopback("saddr", f.src, expr.CmpOpEq) }
func (f family) toLoopback() part   { return f.atLoopback("daddr", f.dst, expr.CmpOpEq) }
func (f family) notToLoopback() part {
	return f.atLoopback("daddr !=", f.dst, expr.CmpOpNeq)
}

func (f family) atLoopback(text string, offset uint32, op expr.CmpOp) part {
	p := part{f.name + " " + text + " " + f.loopback, []expr.Any{f.load(offset, reg(0))}}
	if f.loopbackMask != nil {
		p.exprs = append(p.exprs, &expr.Bitwise{
			SourceRegister: reg(0), DestRegister: reg(0), Len: f.size, Mask: f.loopbackMask, Xor: make([]byte, f.size),
		})
	}
	p.exprs = append(p.exprs, &expr.Cmp{Op: op, Register: reg(0), Data: f.loopbackData})
	return p
}

// toPublished changes the destination to what the map of ports has for it. If the
// map has nothing, the rule ends there and the next one is tried.
func (f family) toPublished() part {
	words := int(f.size / 4)
	p := part{"dnat " + f.name + " to " + f.name + " daddr . meta l4proto . th dport map @" + f.ports, nil}
	p.exprs = append([]expr.Any{f.load(f.dst, reg(0))}, f.lookUpPort(words, f.ports)...)
	return p
}

// toPublishedAnywhere is toPublished for ports that are published on every address.
func (f family) toPublishedAnywhere() part {
	return part{"dnat " + f.name + " to meta l4proto . th dport map @" + f.any, f.lookUpPort(0, f.any)}
}

// lookUpPort puts protocol and port behind what is in the first words registers,
// looks them up, and changes the destination to the answer: an address, a port.
func (f family) lookUpPort(words int, set string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg(words)},
		&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2, DestRegister: reg(words + 1)},
		&expr.Lookup{SourceRegister: reg(0), DestRegister: reg(0), IsDestRegSet: true, SetName: set},
		&expr.NAT{
			Type: expr.NATTypeDestNAT, Family: uint32(f.nfproto),
			RegAddrMin: reg(0), RegProtoMin: reg(int(f.size / 4)),
		},
	}
}
