package sandbox

import (
	"slices"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Where things are in a packet, and registers that do not overlap.
const (
	offsetSource          = 12 // in an IPv4 header
	offsetDestination     = 16 // likewise
	offsetSourcePort      = 0  // in a UDP or TCP header
	offsetDestinationPort = 2  // likewise
	// offsetRefusedPort is where an ICMP error has the port that was sent to: after its
	// own header of 8 bytes and an IPv4 header of 20.
	offsetRefusedPort = 8 + 20 + offsetDestinationPort
	offsetICMPType    = 0
	icmpUnreachable   = 3

	reg     = unix.NFT_REG_1
	regPort = unix.NFT_REG_2
)

// zoneRules give what is between clients and our UDP socket a zone of its own, which has
// the number of the socket's port. In the language of nft:
//
//	ip daddr 127.0.0.11 udp dport @ports meta mark != MARK ct zone set PORT
//	ip saddr 127.0.0.11 udp sport PORT ct zone set PORT
//	ip saddr 127.0.0.11 icmp type destination-unreachable @th,240,16 PORT ct zone set PORT
//
// The last one is for what the kernel says when the socket is no longer there. Flows of
// one zone are not known in another (conntrack zones, since Linux 4.4). A socket that
// goes on asking while the plugin comes and goes is so led to whoever is there, and a
// port that we asked the engine from is no client's way to the engine. TCP has an end to
// each of its flows, and needs none of it.
func (t *table) zoneRules() [][]expr.Any {
	ours := binaryutil.BigEndian.PutUint16(t.to.udp)
	zone := []expr.Any{
		&expr.Immediate{Register: reg, Data: binaryutil.NativeEndian.PutUint16(t.to.udp)},
		&expr.Ct{Key: expr.CtKeyZONE, Register: reg, SourceRegister: true},
	}
	return [][]expr.Any{
		slices.Concat(t.fromClients(unix.IPPROTO_UDP), zone),
		slices.Concat(address(offsetSource), protocol(unix.IPPROTO_UDP), transport(offsetSourcePort, ours), zone),
		slices.Concat(address(offsetSource), protocol(unix.IPPROTO_ICMP), transport(offsetICMPType, []byte{icmpUnreachable}), transport(offsetRefusedPort, ours), zone),
	}
}

// rules lead clients to our sockets. Over UDP it is the zone that tells, so that both
// chains are of one mind about a packet at the moment when the port's time is over:
//
//	ip daddr 127.0.0.11 meta l4proto udp ct zone PORT dnat to 127.0.0.11:PORT
//	ip daddr 127.0.0.11 tcp dport @ports meta mark != MARK dnat to 127.0.0.11:PORT
func (t *table) rules() [][]expr.Any {
	return [][]expr.Any{
		slices.Concat(address(offsetDestination), protocol(unix.IPPROTO_UDP), []expr.Any{
			&expr.Ct{Key: expr.CtKeyZONE, Register: reg},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binaryutil.NativeEndian.PutUint16(t.to.udp)},
		}, dnat(t.to.udp)),
		slices.Concat(t.fromClients(unix.IPPROTO_TCP), dnat(t.to.tcp)),
	}
}

// fromClients matches queries of the container's, as long as we take them.
func (t *table) fromClients(proto byte) []expr.Any {
	return slices.Concat(address(offsetDestination), protocol(proto), []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: offsetDestinationPort, Len: 2},
		&expr.Lookup{SourceRegister: reg, SetName: setPorts},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: binaryutil.NativeEndian.PutUint32(t.opts.Mark)},
	})
}

// address matches the resolver's.
func address(offset uint32) []expr.Any {
	return field(expr.PayloadBaseNetworkHeader, offset, resolver().AsSlice())
}

// transport matches what comes after the IP header.
func transport(offset uint32, value []byte) []expr.Any {
	return field(expr.PayloadBaseTransportHeader, offset, value)
}

func field(base expr.PayloadBase, offset uint32, value []byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: uint32(len(value))}, //nolint:gosec // a few bytes
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: value},
	}
}

func protocol(number byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{number}},
	}
}

func dnat(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: reg, Data: resolver().AsSlice()},
		&expr.Immediate{Register: regPort, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg, RegProtoMin: regPort},
	}
}
