package firewall

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"golang.org/x/sys/unix"
)

// The names of our sets and maps.
const (
	setBridges  = "bridges"  // devices of our networks
	setSame     = "same"     // each of those with itself: from and to one network
	setICC      = "icc"      // those whose containers may talk to each other
	setInternal = "internal" // those with no way out or in
	setEngine   = "engine"   // devices of the engine's own networks
	setMasq4    = "masq4"    // subnets to masquerade
	setMasq6    = "masq6"
	mapPorts4   = "ports4" // published on one address of the host
	mapPorts6   = "ports6"
	mapAny4     = "any4" // published on every address of the host
	mapAny6     = "any6"

	mapSource4    = "source4" // subnets to translate, with the address they get
	mapSource6    = "source6"
	setRouted4    = "routed4" // those whose containers are reached at their own address
	setRouted6    = "routed6"
	setUnprotect4 = "unprotected4" // those that everybody may enter
	setUnprotect6 = "unprotected6"
	setTrusted    = "trusted" // devices of the host, each with a bridge that trusts it
	setOpen4      = "open4"   // ports of containers that are reached at their own address
	setOpen6      = "open6"
)

// deviceLen is IFNAMSIZ: the length of a device's name in a set, filled with zeros.
const deviceLen = 16

// element is one element of a set or map, in the kernel's form. Being comparable,
// it can be looked for among those that the kernel has.
type element struct {
	set string
	key string
	// end says that an interval ends before key.
	end bool
	// val is what a map has for the key.
	val string
}

// set says what a set or map is.
type set struct {
	name string
	// key and val are the types' parts, as nft names them; no val means a set.
	key, val []nftables.SetDatatype
	// interval says that keys are ranges.
	interval bool
	// timeout is how long an element stays; zero is for ever. Elements that go by
	// themselves are of no interest to a comparison.
	timeout time.Duration
}

// wantSets returns our sets and maps.
func wantSets() []set {
	device := []nftables.SetDatatype{nftables.TypeIFName}
	v4 := []nftables.SetDatatype{nftables.TypeIPAddr}
	v6 := []nftables.SetDatatype{nftables.TypeIP6Addr}
	port := []nftables.SetDatatype{nftables.TypeInetService}
	protoPort := []nftables.SetDatatype{nftables.TypeInetProto, nftables.TypeInetService}
	join := func(a, b []nftables.SetDatatype) []nftables.SetDatatype { return append(append(a[:0:0], a...), b...) }
	return slices.Concat([]set{
		{name: setBridges, key: device},
		{name: setSame, key: join(device, device)},
		{name: setICC, key: device},
		{name: setInternal, key: device},
		{name: setEngine, key: device},
		{name: setMasq4, key: v4, interval: true},
		{name: setMasq6, key: v6, interval: true},
		{name: mapPorts4, key: join(v4, protoPort), val: join(v4, port)},
		{name: mapPorts6, key: join(v6, protoPort), val: join(v6, port)},
		{name: mapAny4, key: protoPort, val: join(v4, port)},
		{name: mapAny6, key: protoPort, val: join(v6, port)},
		{name: mapSource4, key: v4, val: v4, interval: true},
		{name: mapSource6, key: v6, val: v6, interval: true},
		{name: setRouted4, key: device},
		{name: setRouted6, key: device},
		{name: setUnprotect4, key: device},
		{name: setUnprotect6, key: device},
		{name: setTrusted, key: join(device, device)},
		{name: setOpen4, key: join(v4, protoPort)},
		{name: setOpen6, key: join(v6, protoPort)},
	}, tunnelSets(), resolverSets())
}

// nft returns the set as the library has it. The id only has to differ within a
// transaction; the library's own counter is not safe for concurrent use.
func (s set) nft(t *nftables.Table, id uint32) (*nftables.Set, error) {
	out := &nftables.Set{Table: t, ID: id, Name: s.name, Interval: s.interval, IsMap: s.val != nil, KeyByteOrder: binaryutil.BigEndian}
	var err error
	if out.KeyType, err = datatype(s.key); err != nil {
		return nil, err
	}
	out.Concatenation = len(s.key) > 1
	out.HasTimeout, out.Timeout = s.timeout != 0, s.timeout
	if s.key[0] == nftables.TypeIFName {
		out.KeyByteOrder = binaryutil.NativeEndian
	}
	if s.val != nil {
		out.DataType, err = datatype(s.val)
	}
	return out, err
}

func datatype(parts []nftables.SetDatatype) (nftables.SetDatatype, error) {
	if len(parts) == 1 {
		return parts[0], nil
	}
	return nftables.ConcatSetType(parts...)
}

func (e element) nft() nftables.SetElement {
	out := nftables.SetElement{Key: []byte(e.key), IntervalEnd: e.end}
	if e.val != "" {
		out.Val = []byte(e.val)
	}
	return out
}

func deviceKey(name string) string {
	var b [deviceLen]byte
	copy(b[:], name)
	return string(b[:])
}

func deviceElement(set, device string) element { return element{set: set, key: deviceKey(device)} }

func pairElement(set, from, to string) element {
	return element{set: set, key: deviceKey(from) + deviceKey(to)}
}

// subnetElements returns a subnet as the kernel keeps intervals: the first address,
// and the first one after it as an end. There is none after the last of all. A map
// has val for it.
func subnetElements(set string, p netip.Prefix, val string) []element {
	out := []element{{set: set, key: string(p.Masked().Addr().AsSlice()), val: val}}
	if end := lastAddr(p).Next(); end.IsValid() {
		out = append(out, element{set: set, key: string(end.AsSlice()), end: true})
	}
	return out
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b) // b has the length of an address
	return last
}

// portElements returns what a published port is in the sets.
func portElements(p Port) []element {
	var out []element
	if p.HostPort != 0 {
		out = append(out, portElement(p))
	}
	if p.Open {
		out = append(out, openElement(p))
	}
	return out
}

// openElement returns a port of a container that is reached at its own address.
func openElement(p Port) element {
	set := setOpen4
	if p.Addr.Is6() {
		set = setOpen6
	}
	return element{set: set, key: string(p.Addr.AsSlice()) + string([]byte{p.Protocol, 0, 0, 0}) + portBytes(p.Port)}
}

// portElement returns a published port. In a concatenation each part is filled to
// four bytes (nft datatype.c, concat_type_alloc).
func portElement(p Port) element {
	e := element{val: string(p.Addr.AsSlice()) + portBytes(p.Port)}
	e.key = string([]byte{p.Protocol, 0, 0, 0}) + portBytes(p.HostPort)
	switch specific := !p.HostAddr.IsUnspecified(); {
	case specific && p.Addr.Is4():
		e.set = mapPorts4
	case specific:
		e.set = mapPorts6
	case p.Addr.Is4():
		e.set = mapAny4
	default:
		e.set = mapAny6
	}
	if !p.HostAddr.IsUnspecified() {
		e.key = string(p.HostAddr.AsSlice()) + e.key
	}
	return e
}

func portBytes(port uint16) string {
	return string(binary.BigEndian.AppendUint16(nil, port)) + "\x00\x00"
}

// The registers of a rule that hold 4 bytes each (NFT_REG32_00 in nf_tables.h).
// Parts of a concatenation lie in registers that follow each other.
func reg(n int) uint32 { return unix.NFT_REG32_00 + uint32(n) } //nolint:gosec // there are 16
