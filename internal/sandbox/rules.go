package sandbox

import (
	"fmt"
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

	reg     = unix.NFT_REG_1
	regPort = unix.NFT_REG_2
)

// rule is a rule of a chain.
type rule struct {
	chain string
	exprs []expr.Any
	// zone is set at its end, if there is one.
	zone *zone
}

// rules lead clients to our sockets, in the language of nft:
//
//	ip daddr 127.0.0.11 udp dport @ports meta mark != MARK ct original zone set PORT
//	ip saddr 127.0.0.11 udp sport PORT ct zone set 0
//
// in the chain of zones, and in that of queries:
//
//	ip daddr 127.0.0.11 udp dport 53 ct zone PORT dnat to 127.0.0.11:PORT
//	ip daddr 127.0.0.11 tcp dport @ports meta mark != MARK dnat to 127.0.0.11:PORT
//
// Queries over UDP have a conntrack zone of their own, which has the number of our port.
// The kernel does not know a flow of one zone in another, so a socket that goes on asking
// while the plugin comes and goes is led to whoever is there, and a port that we asked
// the engine from is no client's way to the engine. Only what clients send is in the
// zone: answers are known whoever gives them, and whatever becomes of these rules while
// a query is under way. The second rule is for containers that give all they send a zone.
// TCP has an end to each of its flows, and needs none of it.
//
// It is the zone that the second chain goes by, so that both are of one mind about a
// packet at the moment when the port's time is over. On a kernel without zones the rule
// for UDP is as that for TCP.
func (t *table) rules(zones bool) []rule {
	tcp := rule{chain: chainQueries, exprs: slices.Concat(t.fromClients(unix.IPPROTO_TCP), dnat(t.to.tcp))}
	if !zones {
		return []rule{{chain: chainQueries, exprs: slices.Concat(t.fromClients(unix.IPPROTO_UDP), dnat(t.to.udp))}, tcp}
	}
	return []rule{
		{chain: chainZones, exprs: t.fromClients(unix.IPPROTO_UDP), zone: &zone{number: t.to.udp, direction: directionOriginal}},
		{chain: chainZones, exprs: slices.Concat(
			address(offsetSource), protocol(unix.IPPROTO_UDP), port(offsetSourcePort, t.to.udp),
		), zone: &zone{number: 0, direction: directionBoth}},
		{chain: chainQueries, exprs: slices.Concat(
			address(offsetDestination), protocol(unix.IPPROTO_UDP), port(offsetDestinationPort, dnsPort), []expr.Any{
				&expr.Ct{Key: expr.CtKeyZONE, Register: reg},
				&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binaryutil.NativeEndian.PutUint16(t.to.udp)},
			}, dnat(t.to.udp),
		)},
		tcp,
	}
}

// fromClients matches queries of the container's, as long as we take them.
func (t *table) fromClients(proto byte) []expr.Any {
	return slices.Concat(address(offsetDestination), protocol(proto), []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: offsetDestinationPort, Len: 2},
		&expr.Lookup{SourceRegister: reg, SetName: setPorts},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: binaryutil.NativeEndian.PutUint32(t.of.opts.Mark)},
	})
}

// address matches the resolver's.
func address(offset uint32) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: resolver().AsSlice()},
	}
}

func protocol(number byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{number}},
	}
}

func port(offset uint32, number uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binaryutil.BigEndian.PutUint16(number)},
	}
}

func dnat(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: reg, Data: resolver().AsSlice()},
		&expr.Immediate{Register: regPort, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg, RegProtoMin: regPort},
	}
}

// zone gives a packet a conntrack zone, which holds for one direction of its flow or
// for both.
type zone struct {
	number    uint16
	direction byte
}

// The directions, of enum ip_conntrack_dir
// (include/uapi/linux/netfilter/nf_conntrack_tuple_common.h).
const (
	directionOriginal = 0
	directionBoth     = 2 // beyond both: none is told
)

// expressions are the zone's in the kernel's form. The library has them without the
// direction.
func (z zone) expressions() ([][]byte, error) {
	load, err := expr.Marshal(unix.NFPROTO_IPV4, &expr.Immediate{Register: reg, Data: binaryutil.NativeEndian.PutUint16(z.number)})
	if err != nil {
		return nil, fmt.Errorf("encode the zone: %w", err)
	}
	set := append(number(unix.NFTA_CT_KEY, unix.NFT_CT_ZONE), number(unix.NFTA_CT_SREG, reg)...)
	if z.direction != directionBoth {
		set = append(set, attribute(unix.NFTA_CT_DIRECTION, []byte{z.direction})...)
	}
	return [][]byte{load, append(text(unix.NFTA_EXPR_NAME, "ct"), nested(unix.NFTA_EXPR_DATA, set)...)}, nil
}

// order adds the rule to its chain.
func (r rule) order(table string) (order, error) {
	var parts [][]byte
	for _, e := range r.exprs {
		part, err := expr.Marshal(unix.NFPROTO_IPV4, e)
		if err != nil {
			return order{}, fmt.Errorf("encode a rule of chain %s: %w", r.chain, err)
		}
		parts = append(parts, part)
	}
	if r.zone != nil {
		zone, err := r.zone.expressions()
		if err != nil {
			return order{}, err
		}
		parts = append(parts, zone...)
	}
	for i, p := range parts {
		parts[i] = nested(unix.NFTA_LIST_ELEM, p)
	}
	return order{unix.NFT_MSG_NEWRULE, appended, slices.Concat(
		text(unix.NFTA_RULE_TABLE, table), text(unix.NFTA_RULE_CHAIN, r.chain), nested(unix.NFTA_RULE_EXPRESSIONS, parts...),
	)}, nil
}
