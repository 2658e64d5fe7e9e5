package firewall

import (
	"fmt"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Where things are in a frame: in the Ethernet header (IEEE 802.3 clause 3), in an
// ARP packet (RFC 826) and in a neighbour advertisement (RFC 4861 section 4.4).
const (
	etherSource   = 6
	etherTypeAt   = 12
	arpSenderMAC  = 8
	arpSenderAddr = 14
	advertTarget  = 8
)

// The registers of a look-up of a port with a MAC and an IP address: the name takes
// 16 bytes, the MAC is filled to 8.
const (
	regMAC  = 4
	regAddr = 6
)

// count keeps how many packets and bytes came to it.
func count() part { return part{"counter", []expr.Any{&expr.Counter{}}} }

func etherType(name string, number uint16) part {
	return part{"ether type " + name, etherTypeIs(number)}
}

func etherTypeIs(number uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{Base: expr.PayloadBaseLLHeader, Offset: etherTypeAt, Len: 2, DestRegister: reg(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: binaryutil.BigEndian.PutUint16(number)},
	}
}

// protocolIs is how nft says it where a part of the network header follows.
func protocolIs(number uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: reg(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: binaryutil.BigEndian.PutUint16(number)},
	}
}

// port puts the name of the port that a frame came from where look-ups begin.
func port() expr.Any { return &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg(0)} }

func loadAt(base expr.PayloadBase, offset, size uint32, register int) expr.Any {
	return &expr.Payload{Base: base, Offset: offset, Len: size, DestRegister: reg(register)}
}

func loadMAC() expr.Any { return loadAt(expr.PayloadBaseLLHeader, etherSource, 6, regMAC) }

// strangeMAC matches frames that do not come from the port's MAC address.
func strangeMAC() part {
	return part{"iifname . ether saddr != @" + setMACs, []expr.Any{
		port(), loadMAC(), &expr.Lookup{SourceRegister: reg(0), SetName: setMACs, Invert: true},
	}}
}

// ownPacket matches packets from an address of the port.
func ownPacket(f family, set string) part {
	p := part{text: "iifname . ether saddr . " + f.name + " saddr @" + set}
	p.exprs = append(protocolIs(f.etherType()), port(), loadMAC(),
		loadAt(expr.PayloadBaseNetworkHeader, f.src, f.size, regAddr), lookup(set))
	return p
}

// ownARP matches ARP packets whose sender is the port, by both of its addresses.
func ownARP() part {
	p := part{text: "iifname . arp saddr ether . arp saddr ip @" + setOwn4}
	p.exprs = append(etherTypeIs(unix.ETH_P_ARP), port(),
		loadAt(expr.PayloadBaseNetworkHeader, arpSenderMAC, 6, regMAC),
		loadAt(expr.PayloadBaseNetworkHeader, arpSenderAddr, 4, regAddr), lookup(setOwn4))
	return p
}

// arpMAC matches ARP packets whose sender is said to have another's MAC address.
func arpMAC() part {
	p := part{text: "iifname . arp saddr ether != @" + setMACs}
	p.exprs = append(etherTypeIs(unix.ETH_P_ARP), port(),
		loadAt(expr.PayloadBaseNetworkHeader, arpSenderMAC, 6, regMAC),
		&expr.Lookup{SourceRegister: reg(0), SetName: setMACs, Invert: true})
	return p
}

func arpAddr(text string, begin ...byte) part {
	return part{"arp saddr ip " + text, append(etherTypeIs(unix.ETH_P_ARP), begins(arpSenderAddr, begin)...)}
}

// addrBegins matches packets whose header has these bytes at an offset.
func addrBegins(text string, protocol uint16, offset uint32, begin ...byte) part {
	return part{text, append(protocolIs(protocol), begins(offset, begin)...)}
}

func begins(offset uint32, begin []byte) []expr.Any {
	return []expr.Any{
		loadAt(expr.PayloadBaseNetworkHeader, offset, uint32(len(begin)), 0), //nolint:gosec // at most 16
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: begin},
	}
}

// linkLocalSource matches packets from an address of fe80::/10.
func linkLocalSource() part {
	mask := make([]byte, 16)
	mask[0], mask[1] = 0xff, 0xc0
	data := make([]byte, 16)
	data[0], data[1] = 0xfe, 0x80
	p := part{text: "ip6 saddr fe80::/10"}
	p.exprs = append(protocolIs(unix.ETH_P_IPV6), loadAt(expr.PayloadBaseNetworkHeader, 8, 16, 0),
		&expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: 16, Mask: mask, Xor: make([]byte, 16)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: data})
	return p
}

// icmpv6 matches a type of message.
func icmpv6(name string, number byte) part {
	p := part{text: "icmpv6 type " + name}
	p.exprs = append(etherTypeIs(unix.ETH_P_IPV6),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: []byte{unix.IPPROTO_ICMPV6}},
		loadAt(expr.PayloadBaseTransportHeader, 0, 1, 0),
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: []byte{number}})
	return p
}

// ownTarget matches neighbour advertisements for an address of the port.
func ownTarget() part {
	return part{fmt.Sprintf("iifname . ether saddr . @th,%d,128 @%s", advertTarget*8, setOwn6), []expr.Any{
		port(), loadMAC(), loadAt(expr.PayloadBaseTransportHeader, advertTarget, 16, regAddr), lookup(setOwn6),
	}}
}

// linkLocalTarget matches neighbour advertisements for an address of fe80::/10.
func linkLocalTarget() part {
	return part{fmt.Sprintf("@th,%d,16 & 0xffc0 == 0xfe80", advertTarget*8), []expr.Any{
		loadAt(expr.PayloadBaseTransportHeader, advertTarget, 2, 0),
		&expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: 2, Mask: []byte{0xff, 0xc0}, Xor: []byte{0, 0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: []byte{0xfe, 0x80}},
	}}
}

func lookup(set string) expr.Any { return &expr.Lookup{SourceRegister: reg(0), SetName: set} }
