package firewall

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Source says what a port of a bridge may send: frames with this MAC address, and
// packets from these addresses.
//
// What the port sends is judged where it enters the bridge, in a table of the bridge
// family: frames that go from one port to another never come to the inet table
// unless br_netfilter is on. Besides its own a port may use addresses that are
// nobody's (unspecified, as before DHCP and duplicate address detection) and
// link-local ones, of which the engine may give a container some that we are not
// told of (`--link-local-ip`).
type Source struct {
	// Device is the name of the port.
	Device string
	MAC    [6]byte
	// Addrs are its addresses, IPv4 and IPv6.
	Addrs []netip.Addr
}

// The names of our sets and chains in the table of the bridge family.
const (
	setGuarded = "guarded" // ports that are checked
	setMACs    = "macs"    // each of those with its MAC address
	setOwn4    = "own4"    // and with each of its addresses
	setOwn6    = "own6"

	chainSource    = "source"
	chainARP       = "from-arp"
	chainIPv4      = "from-ipv4"
	chainIPv6      = "from-ipv6"
	chainNeighbour = "neighbour-advert"
)

func sourceSets() []set {
	port := []nftables.SetDatatype{nftables.TypeIFName}
	mac := []nftables.SetDatatype{nftables.TypeIFName, nftables.TypeEtherAddr}
	return []set{
		{name: setGuarded, key: port},
		{name: setMACs, key: mac},
		{name: setOwn4, key: append(slices.Clone(mac), nftables.TypeIPAddr)},
		{name: setOwn6, key: append(slices.Clone(mac), nftables.TypeIP6Addr)},
	}
}

// sourceChains judge each frame of a guarded port by one look-up in the usual case.
//
// Tagged frames are dropped: the tag of VLAN 0 is taken off by whoever gets it
// (__netif_receive_skb_core), and what is in it was not looked at. Nor may a port say
// that it is a router: that diverts the packets of others without using an address
// of theirs (RFC 6105 section 1).
func sourceChains() []chain {
	return []chain{
		{name: chainARP, rules: []rule{
			newRule(ownARP(), accept()),
			newRule(arpMAC(), count(), drop()),
			newRule(arpAddr("0.0.0.0", 0, 0, 0, 0), accept()), // a probe (RFC 5227 section 1.1)
			newRule(arpAddr("169.254.0.0/16", 169, 254), accept()),
			newRule(count(), drop()),
		}},
		{name: chainIPv4, rules: []rule{
			newRule(ownPacket(ipv4(), setOwn4), accept()),
			newRule(addrBegins("ip saddr 0.0.0.0", unix.ETH_P_IP, 12, 0, 0, 0, 0), accept()),
			newRule(addrBegins("ip saddr 169.254.0.0/16", unix.ETH_P_IP, 12, 169, 254), accept()),
			newRule(count(), drop()),
		}},
		{name: chainNeighbour, rules: []rule{
			newRule(ownTarget(), accept()),
			newRule(linkLocalTarget(), accept()),
			newRule(count(), drop()),
		}},
		{name: chainIPv6, rules: []rule{
			newRule(icmpv6("nd-neighbor-advert", 136), goTo(chainNeighbour)),
			newRule(icmpv6("nd-router-advert", 134), count(), drop()),
			newRule(icmpv6("nd-redirect", 137), count(), drop()),
			newRule(ownPacket(ipv6(), setOwn6), accept()),
			newRule(linkLocalSource(), accept()),
			newRule(addrBegins("ip6 saddr ::", unix.ETH_P_IPV6, 8, make([]byte, 16)...), accept()),
			newRule(count(), drop()),
		}},
		{
			name: chainSource, kind: nftables.ChainTypeFilter,
			hook: nftables.ChainHookPrerouting, priority: -300, // before all others, br_netfilter's (0) as well
			rules: []rule{
				newRule(iif("!=", setGuarded), accept()),
				newRule(strangeMAC(), count(), drop()),
				newRule(etherType("ip", unix.ETH_P_IP), goTo(chainIPv4)),
				newRule(etherType("ip6", unix.ETH_P_IPV6), goTo(chainIPv6)),
				newRule(etherType("arp", unix.ETH_P_ARP), goTo(chainARP)),
				newRule(etherType("8021q", unix.ETH_P_8021Q), count(), drop()),
				newRule(etherType("8021ad", unix.ETH_P_8021AD), count(), drop()),
			},
		},
	}
}

func (s *state) addSource(src Source) (delta, error) {
	if err := src.check(); err != nil {
		return delta{}, err
	}
	src.Addrs = slices.Clone(src.Addrs)
	d := difference(s.sources[src.Device].elements(), src.elements())
	// Also what is there already: an error tells that the table is gone.
	d.add = src.elements()
	s.sources[src.Device] = src
	return d, nil
}

func (s *state) removeSource(device string) delta {
	d := delta{remove: s.sources[device].elements()}
	delete(s.sources, device)
	return d
}

func (s Source) check() error {
	for _, a := range s.Addrs {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
			return fmt.Errorf("source of %s: address %s cannot be checked", s.Device, a)
		}
	}
	return checkDevice(s.Device)
}

// elements says what the source is in the sets; the zero value is nothing.
func (s Source) elements() []element {
	if s.Device == "" {
		return nil
	}
	mac := deviceKey(s.Device) + string(s.MAC[:]) + "\x00\x00" // filled to 8 bytes
	out := []element{{set: setGuarded, key: deviceKey(s.Device)}, {set: setMACs, key: mac}}
	for _, a := range s.Addrs {
		set := setOwn4
		if a.Is6() {
			set = setOwn6
		}
		out = append(out, element{set: set, key: mac + string(a.AsSlice())})
	}
	return out
}
