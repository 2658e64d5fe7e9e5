// Package firewall sets the packet filter and address translation of ournet's
// networks on the host.
//
// It owns one nftables table of the inet family, one of the bridge family (see
// [Source]) and, where the host has an iptables FORWARD chain, one chain of one rule
// and a jump to it there. It never
// changes, moves or flushes what is not its own. It does not know what a container
// is: it is told of bridges, subnets and published ports.
//
// # How it works
//
// Everything that grows is an element of a set or map: a network is an element of
// a few sets, a published port is one element of one map. The rules themselves are
// always the same 52, so a host with 1,000 published ports judges a packet as
// quickly as one with none, and one more port is one small netlink message.
//
// nftables chains of several tables all see a packet, and a drop in any of them is
// final, while an accept only ends the chain it is in. Isolation can therefore be
// done in our table alone, but an accept cannot: the engine sets the policy of
// iptables' FORWARD chain to DROP (moby, daemon/libnetwork/drivers/bridge,
// setupIPForwarding). So our forward chain, which runs first, sets a bit of the
// packet's mark on what it lets pass, one iptables rule accepts packets with that
// bit, and our last chain takes it off again. The jump to that rule stands after
// DOCKER-USER's, so what an administrator drops there stays dropped.
//
// Rejected: a rule per port in iptables (what the engine does: each change copies
// the table); moving our chain before all others to accept (does not exist, see
// above); changing the FORWARD policy (not ours).
package firewall

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/google/nftables"
	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/hostfs"
)

// Network is a bridge network.
type Network struct {
	// Bridge is the name of its device.
	Bridge string
	// Subnets are its addresses, IPv4 and IPv6.
	Subnets []netip.Prefix
	// IPv4 and IPv6 say what the gateway does with packets of that family.
	IPv4, IPv6 Gateway
	// Trusted are devices of the host: what comes in by one of them to an [Port.Open]
	// port of a container is let pass.
	Trusted []string
	// ICC lets the containers of the network talk to each other.
	ICC bool
	// Internal networks have no way out and none in.
	Internal bool
	// Sealed keeps away from the host itself what the containers send to it.
	Sealed bool
	// Tunnel leads to the network's containers on other hosts.
	Tunnel Tunnel
}

// Gateway is what a network's gateway does for one family of addresses.
type Gateway struct {
	// Masquerade gives packets that leave by a device not of ours the host's address.
	Masquerade bool
	// Source is the address that masquerading gives; not valid means the one of the
	// device that a packet leaves by.
	Source netip.Addr
	// Routed lets in, from everywhere, what is for an [Port.Open] port of a
	// container, and pings.
	Routed bool
	// Unprotected lets in everything from everywhere but internal networks.
	Unprotected bool
}

// Port is a published port: what comes to HostAddr and HostPort goes to Addr and
// Port, which are on Bridge.
type Port struct {
	// Protocol is the IP protocol number: 6 TCP, 17 UDP, 132 SCTP.
	Protocol uint8
	// HostAddr is an address of the host; unspecified means every one of its family.
	HostAddr netip.Addr
	// HostPort is 0 if the port is not to be had at the host, only Open.
	HostPort uint16
	// Addr is the container's address, of the same family.
	Addr netip.Addr
	Port uint16
	// Bridge is the network that the container is on.
	Bridge string
	// Open says that the port may be reached at Addr itself as well, from where the
	// network says.
	Open bool
}

// State is all that the packet filter should know.
type State struct {
	Networks []Network
	Ports    []Port
	// Sources are the ports of bridges whose frames are checked.
	Sources []Source
	// EngineBridges are the devices of the engine's own bridge networks, to and
	// from which ours are isolated.
	EngineBridges []string
	// Underlay carries the networks' tunnels.
	Underlay Underlay
}

// Options are settings of a [Table]; the zero value is useful.
type Options struct {
	// Name is the name of the nftables table and, in capitals, the start of the
	// iptables chain's. Instances on one host need different ones. Default "ournet".
	Name string
	// BinDir is where iptables-nft, iptables-legacy and their ip6tables are.
	// Default "/usr/sbin".
	BinDir string
	// Repaired is told what was not as it should be when a change found it so; what
	// [Table.Set] finds it returns. Default: it is logged.
	Repaired func(what []string)
}

// Table is our part of the host's packet filter. It is safe for concurrent use;
// changes are made one after the other.
//
// It acts on the network namespace of the thread that calls it.
type Table struct {
	*shared

	// state is what is wanted through this table, one of shared.states.
	state *state
}

// shared is what all tables of one name have in common, see [Table.Share].
type shared struct {
	log  logrus.FieldLogger
	name string
	// turn has room for one: who holds the place may use the fields below. A
	// channel, not a mutex, so that waiting ends with the context.
	turn    chan struct{}
	states  []*state
	forward *forward
	// resolvers are those that were kept last, at kept.
	resolvers []Resolver
	kept      time.Time
	// passed says that queries may have gone past them since, as the table was made anew.
	passed bool
	// lacks has the families of tables that the kernel was found not to have.
	lacks map[nftables.TableFamily]bool
	// repaired is [Options.Repaired].
	repaired func(what []string)
}

// New returns a table that wants nothing yet, without touching the host.
//
// It sets XTABLES_LOCKFILE in the environment of this process: iptables-legacy
// replaces whole tables and guards that with /run/xtables.lock, and in the plugin
// that is another file than the one that the engine's iptables locks. The nft
// variant needs no lock.
func New(log logrus.FieldLogger, fs hostfs.FS, opts Options) (*Table, error) {
	if opts.Name == "" {
		opts.Name = "ournet"
	}
	if opts.BinDir == "" {
		opts.BinDir = "/usr/sbin"
	}
	chain := chainName(opts.Name)
	// 28 is XT_EXTENSION_MAXNAMELEN less the final zero.
	if len(chain) > 28 {
		return nil, fmt.Errorf("firewall name %q: iptables chain %s is longer than 28 bytes", opts.Name, chain)
	}
	if err := os.Setenv("XTABLES_LOCKFILE", fs.Path("/run/xtables.lock")); err != nil {
		return nil, fmt.Errorf("set the iptables lock: %w", err)
	}
	if opts.Repaired == nil {
		opts.Repaired = func(what []string) { log.WithField("changed", what).Warn("firewall repaired") }
	}
	t := &Table{shared: &shared{
		repaired: opts.Repaired, log: log, name: opts.Name, turn: make(chan struct{}, 1),
		forward: newForward(chain, opts.BinDir), lacks: make(map[nftables.TableFamily]bool),
	}}
	return t.Share(), nil
}

// Share returns another table in the same place. What is wanted through either is
// there, and neither's [Table.Set] concerns what is wanted through the other. It is to
// be called before there is anything in the table.
//
// Until each has been set once, nothing is taken for left over: it may be what the
// process before this one had set through the other.
func (t *Table) Share() *Table {
	s := newState()
	t.states = append(t.states, &s)
	return &Table{shared: t.shared, state: &s}
}

// Set makes the packet filter exactly as wanted and returns what was not, one line
// each. It asks the kernel first and writes nothing where that agrees. What it
// changes in nftables it changes at once, in one transaction.
func (t *Table) Set(ctx context.Context, want State) (changed []string, err error) {
	s, err := stateFrom(want)
	if err != nil {
		return nil, err
	}
	if err := t.take(ctx); err != nil {
		return nil, err
	}
	defer t.leave()
	*t.state = s
	t.state.told = true
	return t.sync(ctx)
}

// AddNetwork adds a network, or replaces the one with the same bridge.
func (t *Table) AddNetwork(ctx context.Context, n Network) error {
	return t.change(ctx, "add network on "+n.Bridge, func(s *state) (delta, error) { return s.addNetwork(n) }, true)
}

// RemoveNetwork removes the network of that bridge; if there is none, that is fine.
// Its published ports stay until they are removed.
func (t *Table) RemoveNetwork(ctx context.Context, bridge string) error {
	return t.change(ctx, "remove network on "+bridge, func(s *state) (delta, error) { return s.removeNetwork(bridge), nil }, false)
}

// AddPorts publishes ports, all in one transaction, in time that does not depend on
// how many there are already. A port whose host port is published to another
// container goes to the new one from now on.
func (t *Table) AddPorts(ctx context.Context, ports ...Port) error {
	return t.change(ctx, "add published ports", func(s *state) (delta, error) { return s.addPorts(ports) }, false)
}

// AddSource has the frames of a port checked, whether or not there is such a device
// yet, in time that does not depend on how many there are already.
func (t *Table) AddSource(ctx context.Context, s Source) error {
	return t.change(ctx, "check the source of "+s.Device, func(st *state) (delta, error) { return st.addSource(s) }, false)
}

// RemoveSource ends that; if nothing is checked there, that is fine.
func (t *Table) RemoveSource(ctx context.Context, device string) error {
	return t.change(ctx, "check no source of "+device, func(s *state) (delta, error) { return s.removeSource(device), nil }, false)
}

// RemovePorts takes published ports back. A port that is not published, or whose
// host port is published to another container by now, is left alone.
func (t *Table) RemovePorts(ctx context.Context, ports ...Port) error {
	return t.change(ctx, "remove published ports", func(s *state) (delta, error) { return s.removePorts(ports), nil }, false)
}

// SetEngineBridges says which devices are of the engine's own bridge networks.
func (t *Table) SetEngineBridges(ctx context.Context, bridges []string) error {
	return t.change(ctx, "set the engine's bridges", func(s *state) (delta, error) { return s.setEngineBridges(bridges), nil }, false)
}

// SetUnderlay says which hosts may send to our tunnels.
func (t *Table) SetUnderlay(ctx context.Context, u Underlay) error {
	return t.change(ctx, "set the hosts of the cluster", func(s *state) (delta, error) { return s.setUnderlay(u) }, false)
}

// Remove takes everything of ours off the host: table, chain and jump. What the
// table wanted is forgotten, and what those that share its place did.
func (t *Table) Remove(ctx context.Context) error {
	if err := t.take(ctx); err != nil {
		return err
	}
	defer t.leave()
	for _, s := range t.states {
		told := s.told
		*s = newState()
		s.told = told
	}
	t.resolvers = nil
	if err := t.removeTables(); err != nil {
		return err
	}
	return t.forward.remove()
}

// change changes what is wanted and sends the kernel the difference. If the kernel
// does not take it, something else changed our table, and it is made right as a whole.
func (t *Table) change(ctx context.Context, what string, f func(*state) (delta, error), forward bool) error {
	if err := t.take(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer t.leave()
	d, err := f(t.state)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := t.apply(d); err != nil {
		if err := t.mend(ctx, err); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	if forward {
		if _, err := t.forward.ensure(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// mend makes all of it right after the kernel has refused a change, for the reason
// refused.
func (t *Table) mend(ctx context.Context, refused error) error {
	t.log.WithField("err", refused).Debug("firewall change was refused; comparing all of it")
	changed, err := t.sync(ctx)
	if err != nil {
		return err
	}
	t.repaired(changed)
	return nil
}

func (t *Table) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case t.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the firewall: %w", ctx.Err())
	}
}

func (t *Table) leave() { <-t.turn }
