// Package overlay makes networks of all hosts of a cluster: on each host that takes
// part a Linux bridge without an address, a veth pair per endpoint, and a VXLAN device
// as a further port of the bridge, which carries frames to the other hosts.
//
// It owns devices that carry its alias, their forwarding and neighbour tables, and
// the rules that keep strangers out of the tunnels. Who the other hosts and their
// containers are it is told by [Peers]; it knows nothing of stores, of how a network
// comes to be the same on all hosts, or of Docker's protocol.
//
// # How it works
//
// Nothing is learned; everything is told. For each container of a network, on whatever
// host, the bridge has a neighbour entry (its IP address has that MAC address) and a
// forwarding entry (that MAC address is behind that port). For those of other hosts
// the port is the VXLAN device, which has a forwarding entry of its own (that MAC
// address is at that host). With neigh_suppress on the VXLAN port the bridge answers
// ARP requests and neighbour solicitations for those itself, and lets none out whose
// answer it knows. Broadcast, multicast and frames to MAC addresses that nobody told
// of are sent once to each host that takes part in the network (head-end replication),
// so a container is reached from the moment that it runs, if its host is known.
//
// With learning off a container that sends with another's MAC address draws no frames
// to itself, not even where the check of sources is off; nor can a packet from
// elsewhere. That such packets arrive at all only the hosts of the cluster can bring
// about: the packet filter drops what others send to the tunnels, and what containers
// send there, which would carry the address of their host after masquerading. VXLAN
// itself neither encrypts nor signs: who can send with the address of a host on the
// network between the hosts can do what the host can.
//
// The host has no address on the bridge, answers nothing there and routes nothing in
// or out. The way out is the engine's docker_gwbridge.
//
// Every change is the difference of two small sets: what is wanted, a pure function of
// records and peers, and what was applied last. One endpoint that comes or goes
// anywhere costs each host of its network two forwarding entries and one neighbour
// entry per address, as many netlink messages, and no listing. The sweep compares with
// the kernel itself, with one listing for all networks.
//
// # What it grows by
//
// A host has, for each network that it takes part in: a bridge, a VXLAN device, one
// flood entry per other host of the network, and per container of the network on any
// host one forwarding entry in the bridge, one in the VXLAN device if it is elsewhere,
// and one neighbour entry per address. For a network of 1,000 containers on 50 hosts
// that are about 1,000 + 1,000 + 1,000 + 49 entries of some 100 bytes. Networks in
// which the host has no part cost nothing.
//
// The neighbour entries are permanent, which since Linux 5.0 neither count for
// net.ipv4.neigh.default.gc_thresh1 to 3 nor are ever collected (net/core/neighbour.c,
// neigh_alloc: exempt_from_gc; commit 58956317c8de); before, more than gc_thresh3 of
// them, 1024 by default, in all networks could not be made. Bridge and VXLAN tables have
// no limit that is set by default (ours sets none).
//
// # Rejected
//
//   - Learning, with flooding of what is not known yet: the first packet of each pair
//     goes to all hosts, and whoever forges a MAC address has its traffic.
//   - The VXLAN device's own answers to ARP (proxy), as Swarm uses them: what it does not
//     know it drops, so that a container is reached only when its peers have been told
//     of it, and no address of the user's own on a network works at all.
//   - Notices of the kernel about addresses that it misses (l2miss, l3miss): the first
//     packet waits for a program, and the answer is the same as ours beforehand.
//   - Multicast in the underlay instead of head-end replication: clouds have none.
//   - One VXLAN device for all networks (collect metadata): its forwarding entries hold a
//     VNI each, and bridges would need VLANs to tell networks apart, of which there are
//     4,094; a network of its own costs one device.
//   - The address of a host that is looked up through a route of its own kind (EVPN, BGP):
//     one more daemon on each host, for what the store says already.
package overlay

import (
	"context"
	"net/netip"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/link"
	"github.com/ournet/ournet/internal/turn"
)

// devices is the part of the kernel that has links and addresses.
type devices interface {
	interfaces
	tunnels
	entries
	EnsureBridge(want link.Bridge) (link.Ensured, error)
	Delete(name string) error
	Link(name string) (link.Link, error)
	Links() ([]link.Link, error)
}

// tunnels are the ways to other hosts.
type tunnels interface {
	EnsureVXLAN(want link.VXLAN) (link.Ensured, error)
	Carrier(addr netip.Addr) (link.Link, error)
	Routes() ([]link.Route, error)
}

// interfaces are the containers' ports of a bridge.
type interfaces interface {
	EnsureVeth(want link.Veth) error
	RestoreVeth(want link.Veth, in link.Inside) (done bool, err error)
}

// entries are the tables of bridges and VXLAN devices.
type entries interface {
	Put(e link.Entry) error
	Take(e link.Entry) error
	Entries() (map[string][]link.Entry, error)
	WatchEntries(ctx context.Context, heard func(link.EntryEvent)) error
}

// rules is the host's packet filter.
type rules interface {
	AddNetwork(ctx context.Context, n firewall.Network) error
	RemoveNetwork(ctx context.Context, bridge string) error
	AddSource(ctx context.Context, s firewall.Source) error
	RemoveSource(ctx context.Context, device string) error
	SetUnderlay(ctx context.Context, u firewall.Underlay) error
	Set(ctx context.Context, want firewall.State) (changed []string, err error)
}

// Peer is a container of a network on another host.
type Peer struct {
	Addrs []netip.Addr
	MAC   driver.MAC
	// VTEP is the address of the host that it is on.
	VTEP netip.Addr
}

// Peers tells what the cluster knows now, from memory. Networks are named by
// [driver.Overlay].Cluster.
type Peers interface {
	// Peers returns the containers that a network has on other hosts.
	Peers(network string) []Peer
	// Members returns the addresses of the other hosts that take part in a network.
	Members(network string) []netip.Addr
	// VTEPs returns the addresses of all hosts of the cluster.
	VTEPs() []netip.Addr
}

// Options are settings of a [Driver].
type Options struct {
	// Port is the UDP port of the tunnels, the same on all hosts.
	Port uint16
	// VTEP returns the address of this host that others send to. It is not valid as
	// long as it is not known. It may change: the next sweep moves the tunnels.
	VTEP func() netip.Addr
}

// Kernel is everything of the host that a [Driver] works on.
type Kernel struct {
	Devices devices
	// Rules is a table of the driver's own, see [firewall.Table.Share].
	Rules rules
}

// Driver makes overlay networks.
type Driver struct {
	log   logrus.FieldLogger
	name  string
	dev   devices
	rules rules
	opts  Options
	peers Peers

	// turns are taken by network, and shared and taken for all of them; a table is
	// brought to the kernel by its holder only.
	turns turn.Turns

	mu     sync.Mutex // guards tables and what is in them; never held across I/O
	tables map[driver.NetworkID]*table
}

var (
	_ driver.Driver = (*Driver)(nil)
	_ driver.Prober = (*Driver)(nil)
	_ driver.Minder = (*Driver)(nil)
)

// New returns a driver. The instance's name goes into the alias of the devices it
// makes, so that two instances on one host leave each other's alone.
func New(log logrus.FieldLogger, name string, k Kernel, opts Options, peers Peers) *Driver {
	return &Driver{
		log: log, name: name, dev: k.Devices, rules: k.Rules, opts: opts, peers: peers,
		tables: make(map[driver.NetworkID]*table),
	}
}

// aliasPrefix begins the alias of every device that this instance made. It is not the
// one of bridge networks, which would be taken for left over by their driver.
func (d *Driver) aliasPrefix() string { return "ournet-overlay:" + d.name + ":" }

func (d *Driver) alias(id driver.NetworkID) string { return d.aliasPrefix() + string(id) }
