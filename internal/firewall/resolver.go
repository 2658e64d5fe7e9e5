package firewall

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Resolver is an address of a bridge at which names are answered.
//
// What comes in by the bridge for port 53 of the address goes to [ResolverPort] of it:
// port 53 itself may belong to a program of the host that listens on all addresses.
// Each resolver is an element that lives for [ResolverTime] unless it is kept. So when
// nobody listens there any more, because the process has died, the kernel forgets it,
// and such a program has the queries.
type Resolver struct {
	Bridge string
	Addr   netip.Addr
}

const (
	// ResolverPort is where what comes for port 53 goes, by UDP and TCP. It is below
	// those that the kernel gives out by itself (net.ipv4.ip_local_port_range).
	ResolverPort = 28533
	// ResolverTime is how long a resolver is sent queries after it was last kept.
	ResolverTime = 3 * time.Second
	// DNSPort is the one that queries are sent to (RFC 1035 s4.2).
	DNSPort = 53

	// The names of our sets and chain for it.
	setResolvers4  = "resolvers4"
	setResolvers6  = "resolvers6"
	chainResolvers = "resolvers"
)

func resolverSets() []set {
	key := func(addr nftables.SetDatatype) []nftables.SetDatatype {
		return []nftables.SetDatatype{nftables.TypeIFName, addr, nftables.TypeInetProto, nftables.TypeInetService}
	}
	return []set{
		{name: setResolvers4, key: key(nftables.TypeIPAddr), timeout: ResolverTime},
		{name: setResolvers6, key: key(nftables.TypeIP6Addr), timeout: ResolverTime},
	}
}

// resolverChain comes after all that publishes ports, ours, iptables' and the engine's:
// who publishes port 53 on every address of the host means these too.
func resolverChain() chain {
	v4, v6 := ipv4(), ipv6()
	return chain{
		name: chainResolvers, kind: nftables.ChainTypeNAT,
		hook: nftables.ChainHookPrerouting, priority: -99,
		rules: []rule{
			newRule(v4.is(), v4.toResolver(setResolvers4), v4.toPort(ResolverPort)),
			newRule(v6.is(), v6.toResolver(setResolvers6), v6.toPort(ResolverPort)),
		},
	}
}

// toResolver matches packets to port 53 of a resolver by its own bridge.
func (f family) toResolver(set string) part {
	const addr = deviceLen / 4
	words := addr + int(f.size/4)
	return part{"iifname . " + f.name + " daddr . meta l4proto . th dport @" + set, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg(0)},
		f.load(f.dst, reg(addr)),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg(words)},
		&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2, DestRegister: reg(words + 1)},
		&expr.Lookup{SourceRegister: reg(0), SetName: set},
	}}
}

// toPort changes the destination's port alone.
func (f family) toPort(port uint16) part {
	return part{fmt.Sprintf("dnat %s to :%d", f.name, port), []expr.Any{
		&expr.Immediate{Register: reg(0), Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f.nfproto), RegProtoMin: reg(0)},
	}}
}

// elements says what the resolver is in the sets.
func (r Resolver) elements() []element {
	set := setResolvers4
	if r.Addr.Is6() {
		set = setResolvers6
	}
	var out []element
	for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		key := deviceKey(r.Bridge) + string(r.Addr.AsSlice()) + string([]byte{proto, 0, 0, 0}) + portBytes(DNSPort)
		out = append(out, element{set: set, key: key})
	}
	return out
}

func (r Resolver) check() error {
	if !r.Addr.IsValid() || r.Addr.Is4In6() || r.Addr.Zone() != "" {
		return fmt.Errorf("resolver on %s: %s is no address of a gateway", r.Bridge, r.Addr)
	}
	return checkDevice(r.Bridge)
}

// KeepResolvers has exactly these resolvers get queries for [ResolverTime] from now, and
// returns those that may not have got them all the time since the last call: they are
// new, or that was too long ago, or somebody took our table away meanwhile. What the
// kernel saw go elsewhere then it still sends there, for as long as its sender does not
// pause (connection tracking).
//
// Kernels before 6.12 do not renew the time of an element that is there, so all are
// taken away and added, in one transaction.
func (t *Table) KeepResolvers(ctx context.Context, want []Resolver) (resumed []Resolver, err error) {
	for _, r := range want {
		if err := r.check(); err != nil {
			return nil, err
		}
	}
	if resumed, err = t.keepResolvers(ctx, want); err != nil {
		return nil, fmt.Errorf("keep resolvers: %w", err)
	}
	return resumed, nil
}

func (t *Table) keepResolvers(ctx context.Context, want []Resolver) (resumed []Resolver, err error) {
	if err := t.take(ctx); err != nil {
		return nil, err
	}
	defer t.leave()
	before, now := t.resolvers, time.Now()
	t.resolvers = want
	if err := t.renewResolvers(); err != nil {
		t.passed = true
		if err := t.mend(ctx, err); err != nil {
			return nil, err
		}
		if err := t.renewResolvers(); err != nil {
			return nil, err
		}
	}
	passed := t.passed || time.Since(t.kept) >= ResolverTime // also if it was over while we waited for the kernel
	t.passed, t.kept = false, now
	return slices.DeleteFunc(slices.Clone(want), func(r Resolver) bool { return !passed && slices.Contains(before, r) }), nil
}

// resolverElements are those of the resolvers that were kept last.
func (t *Table) resolverElements() []element {
	var all []element
	for _, r := range t.resolvers {
		all = append(all, r.elements()...)
	}
	return all
}

func (t *Table) renewResolvers() error {
	return t.transact(func(c *nftables.Conn, sets map[string]*nftables.Set) error {
		for _, s := range resolverSets() {
			c.FlushSet(sets[s.name])
		}
		return addElements(c, sets, t.resolverElements())
	})
}
