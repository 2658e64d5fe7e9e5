package ipam

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/ournet/ournet/internal/addrset"
)

// pool is one pool in memory. It decides; it does no I/O and takes no lock: all
// of it is guarded by the manager's.
type pool struct {
	poolRecord

	id PoolID
	// network is the network that the pool is bound to, "" for none.
	network string
	// since is when the pool was last made, asked for or unbound.
	since time.Time
	// released is set by the engine's ReleasePool while the pool is bound.
	released bool
	// writing is not nil while the pool is being made or freed; it is closed at
	// the end of that.
	writing chan struct{}

	// hosts are the addresses that may be leased, dynamic those of them that we
	// choose from.
	hosts, dynamic addrset.Range
	// cursor is where the search for a free address goes on.
	cursor netip.Addr

	// reserve is what this host may give out; nil in a pool that is its own.
	reserve *reserve
	// checked says that the reserve was compared with the ledger since this process
	// began, or that there was nothing to compare, or that the store was away.
	checked bool
	// place is the pool's among those of its network: when one is full the next
	// is used.
	place int
	// lost are the leased addresses that another host has as well, by its name.
	lost map[netip.Addr]string

	leases map[netip.Addr]*lease
	// All below follows from leases; see put.

	// taken are the addresses that the search passes by: leased or remembered.
	taken *addrset.Set
	names names
	// gateway is the address of the first gateway lease.
	gateway netip.Addr
	// memory are the remembered addresses, recent the other released ones.
	memory, recent queue
}

// lease is one leased or released address.
type lease struct {
	leaseRecord

	// endpoint is the endpoint that the lease is bound to, "" for none.
	endpoint string
	// since is when the lease was last made, asked for or unbound.
	since time.Time
	// writing is not nil while a write of the lease is in flight; it is closed
	// at the end of that.
	writing chan struct{}
}

func newPool(id PoolID, r poolRecord, now time.Time) *pool {
	p := &pool{
		poolRecord: r,
		id:         id,
		since:      now,
		hosts:      hosts(r.Subnet),
		leases:     make(map[netip.Addr]*lease),
		taken:      addrset.New(r.Subnet),
		names:      make(names),
		memory:     newQueue(),
		recent:     newQueue(),
		lost:       make(map[netip.Addr]string),
	}
	if id.space() == SpaceCluster {
		p.reserve = newReserve()
	}
	p.dynamic = p.hosts
	if r.Range.IsValid() {
		p.dynamic = p.hosts.Intersect(addrset.RangeOf(r.Range))
	}
	p.cursor = p.dynamic.First
	return p
}

// put makes l the lease of addr, and keeps everything that follows from the
// leases right; nil means none.
func (p *pool) put(addr netip.Addr, l *lease) {
	if old := p.leases[addr]; old != nil {
		p.unmark(addr)
		p.memory.remove(addr)
		p.recent.remove(addr)
		p.names.remove(old.Name, addr)
		if p.gateway == addr {
			p.gateway = netip.Addr{}
		}
	}
	if l == nil {
		delete(p.leases, addr)
		return
	}
	p.leases[addr] = l
	p.names.add(l.Name, addr, func(a netip.Addr) bool { return !p.leases[a].Released.IsZero() })
	if l.Kind == kindGateway && !p.gateway.IsValid() {
		p.gateway = addr
	}
	switch {
	case l.Released.IsZero():
		p.mark(addr)
	case l.remembered():
		p.mark(addr)
		p.memory.add(addr, l.Released)
	default:
		p.recent.add(addr, l.Released)
	}
}

// afterRelease returns what is kept of a lease that ends now; nil means nothing.
func (p *pool) afterRelease(addr netip.Addr, now time.Time) *leaseRecord {
	kept := p.leases[addr].leaseRecord
	if kept.ofNetwork() || !p.mayGive(addr) {
		return nil
	}
	kept.Released = now.UTC().Round(0)
	return &kept
}

// movedOn reports whether a name would get another address than addr.
func (p *pool) movedOn(addr netip.Addr, name string) bool {
	now, ok := p.names.current(name)
	return ok && now != addr
}

// stale reports whether the memory of a released lease is of no more use.
func (p *pool) stale(addr netip.Addr, l *lease, now time.Time, confirm time.Duration) bool {
	switch {
	case l.Released.IsZero() || l.writing != nil:
		return false
	case !p.mayGive(addr):
		return true
	case l.remembered():
		return p.movedOn(addr, l.Name)
	default:
		return now.Sub(l.Released) >= confirm
	}
}

// holder says who has the address of a lease, for a user to read.
func (l *lease) holder(p *pool) string {
	switch {
	case l.Kind == kindGateway:
		return "the gateway of " + p.title()
	case l.Kind == kindReserved:
		return "an auxiliary address of " + p.title()
	case l.Kind == kindForeign:
		return "a lease that a newer version of ournet wrote"
	case l.Name != "":
		return fmt.Sprintf("container %q", l.Name)
	case l.endpoint != "":
		return "endpoint " + short(l.endpoint)
	default:
		return "a container that is just starting"
	}
}

// title names the network of the pool, or the pool itself.
func (p *pool) title() string {
	if p.network != "" {
		return "network " + short(p.network)
	}
	return "pool " + p.Subnet.String()
}

// short returns the first 12 digits of an id, as the Docker CLI shows them.
func short(id string) string { return id[:min(len(id), 12)] }
