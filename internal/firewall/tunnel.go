package firewall

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Tunnel is the VXLAN tunnel that a network reaches other hosts by. The zero value is
// none.
//
// Packets of it are let in from the hosts of [Underlay] only. Those with another VNI
// are let alone: the UDP port may have other users, of whose tunnels we know nothing.
type Tunnel struct {
	// Port is the UDP port.
	Port uint16
	VNI  uint32
}

// Underlay is what carries tunnels: the other hosts, and the UDP port that they use.
//
// What is forwarded there from anybody but one of those hosts is dropped. A container
// could otherwise send a packet with whatever frame it likes in it to the tunnel of
// another host, where it would arrive with the address of this one after masquerading.
type Underlay struct {
	Port uint16
	// VTEPs are the hosts' addresses, this one's too.
	VTEPs []netip.Addr
}

// The names of our sets for tunnels.
const (
	setSealed      = "sealed"       // devices of networks that the host takes no part in
	setTunnels     = "tunnels"      // UDP ports, each with a VNI of ours
	setTunnelPorts = "tunnel-ports" // the UDP ports alone
	setVTEPs4      = "vteps4"       // who may send to them
	setVTEPs6      = "vteps6"

	chainInput   = "input"
	chainTunnels = "from-tunnels"
)

// Where the VNI is, after the 8 bytes of the UDP header (RFC 7348 section 5), and how
// many bytes it has.
const (
	vniAt  = 12
	vniLen = 3
)

func tunnelSets() []set {
	port := []nftables.SetDatatype{nftables.TypeInetService}
	return []set{
		{name: setSealed, key: []nftables.SetDatatype{nftables.TypeIFName}},
		// nft has no type of three bytes; a mark has four, of which the last is 0.
		{name: setTunnels, key: append(slices.Clone(port), nftables.TypeMark)},
		{name: setTunnelPorts, key: port},
		{name: setVTEPs4, key: []nftables.SetDatatype{nftables.TypeIPAddr}},
		{name: setVTEPs6, key: []nftables.SetDatatype{nftables.TypeIP6Addr}},
	}
}

// tunnelChains judge what is for this host itself. Fragments have been put together
// by then, for connection tracking, which our other chains need.
func tunnelChains() []chain {
	v4, v6 := ipv4(), ipv6()
	return []chain{
		{name: chainTunnels, rules: []rule{
			newRule(v4.is(), v4.fromSubnet(setVTEPs4), accept()),
			newRule(v6.is(), v6.fromSubnet(setVTEPs6), accept()),
			newRule(count(), drop()),
		}},
		{
			name: chainInput, kind: nftables.ChainTypeFilter,
			hook: nftables.ChainHookInput, priority: -5,
			rules: []rule{
				newRule(iif("", setSealed), count(), drop()),
				newRule(ofTunnel(), goTo(chainTunnels)),
			},
		},
	}
}

// smuggled matches packets on their way to a tunnel of another host.
func smuggled(f family, vteps string) part {
	p := part{text: fmt.Sprintf("udp dport @%s %s daddr @%s %s saddr != @%s", setTunnelPorts, f.name, vteps, f.name, vteps)}
	p.exprs = append(udp(), f.is().exprs...)
	p.exprs = append(p.exprs,
		loadAt(expr.PayloadBaseTransportHeader, 2, 2, 0), lookup(setTunnelPorts),
		f.load(f.dst, reg(0)), lookup(vteps),
		f.load(f.src, reg(0)), &expr.Lookup{SourceRegister: reg(0), SetName: vteps, Invert: true})
	return p
}

// ofTunnel matches packets to a tunnel of ours.
func ofTunnel() part {
	p := part{text: fmt.Sprintf("udp dport . @th,%d,%d @%s", vniAt*8, vniLen*8, setTunnels)}
	p.exprs = append(udp(),
		loadAt(expr.PayloadBaseTransportHeader, 2, 2, 0),
		loadAt(expr.PayloadBaseTransportHeader, vniAt, vniLen, 1), lookup(setTunnels))
	return p
}

// untracked keeps packets from connection tracking.
func untracked() part { return part{"notrack", []expr.Any{&expr.Notrack{}}} }

func udp() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: []byte{unix.IPPROTO_UDP}},
	}
}

// elements says what the underlay is in the sets.
func (u Underlay) elements() []element {
	if u.Port == 0 {
		return nil
	}
	out := []element{{set: setTunnelPorts, key: portBytes(u.Port)[:2]}}
	for _, a := range sortedAddrs(u.VTEPs) {
		set := setVTEPs4
		if a.Is6() {
			set = setVTEPs6
		}
		out = append(out, element{set: set, key: string(a.AsSlice())})
	}
	return out
}

func (u Underlay) check() error {
	for _, a := range u.VTEPs {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
			return fmt.Errorf("address %s of a host cannot be checked", a)
		}
	}
	return nil
}

func sortedAddrs(addrs []netip.Addr) []netip.Addr {
	return slices.Compact(slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare))
}

// tunnelElements says what a network's tunnel is in the sets.
func (n Network) tunnelElements() []element {
	var out []element
	if n.Sealed {
		out = append(out, deviceElement(setSealed, n.Bridge))
	}
	if t := n.Tunnel; t != (Tunnel{}) {
		vni := binary.BigEndian.AppendUint32(nil, t.VNI<<8)
		out = append(out, element{set: setTunnels, key: portBytes(t.Port) + string(vni)})
	}
	return out
}

func (s *state) setUnderlay(u Underlay) (delta, error) {
	if err := u.check(); err != nil {
		return delta{}, err
	}
	before := s.underlay.elements()
	u.VTEPs = slices.Clone(u.VTEPs)
	s.underlay = u
	return difference(before, u.elements()), nil
}
