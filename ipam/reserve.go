package ipam

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/ournet/ournet/internal/addrset"
	"github.com/ournet/ournet/ipam/ledger"
)

// reserve is what this host has of a pool that hosts share: only it gives these
// addresses out, and it needs nobody's leave to do so.
//
// It is in the store of this host, a key for each shard, and in the ledger of the
// cluster. An address comes in when the ledger has it, is then made durable here, and
// only then given out; it goes out the other way round. So what is durable here is
// ours in the ledger, unless the cluster took this host for dead.
type reserve struct {
	owned ledger.Holdings
	// spare are those of owned that are neither leased nor remembered.
	spare ledger.Holdings
	// supply is how the pool stood when it was last asked.
	supply ledger.Supply
}

func newReserve() *reserve {
	return &reserve{owned: make(ledger.Holdings), spare: make(ledger.Holdings)}
}

// next returns the lowest spare address of r.
func (r *reserve) next(in addrset.Range) (netip.Addr, bool) {
	var found netip.Addr
	for base, b := range r.spare {
		if found.IsValid() && !base.Less(found) {
			continue
		}
		if a, ok := b.And(ledger.Within(base, in)).First(base); ok {
			found = a
		}
	}
	return found, found.IsValid()
}

// reserveRecord is the durable form of what this host has of a shard.
type reserveRecord struct {
	Version int         `json:"v"`
	Owned   ledger.Bits `json:"owned"`
}

func decodeReserve(value []byte) (ledger.Bits, error) {
	var r reserveRecord
	if err := decode(value, &r); err != nil {
		return ledger.Bits{}, err
	}
	return r.Owned, nil
}

// mayGive reports whether the address is this host's to give: always in a pool of its
// own.
func (p *pool) mayGive(a netip.Addr) bool { return p.reserve == nil || p.reserve.owned.Has(a) }

// nextFree returns the lowest address of r that nobody has or is remembered for.
func (p *pool) nextFree(r addrset.Range) (netip.Addr, bool) {
	if p.reserve != nil {
		return p.reserve.next(r)
	}
	return p.taken.NextFree(r)
}

// mark and unmark keep what the search passes by.
func (p *pool) mark(a netip.Addr) {
	p.taken.Add(a)
	if p.reserve != nil {
		p.reserve.spare.Remove(ledger.Base(a), ledger.Only(a))
	}
}

func (p *pool) unmark(a netip.Addr) {
	p.taken.Remove(a)
	if p.reserve != nil && p.reserve.owned.Has(a) {
		p.reserve.spare.Add(ledger.Base(a), ledger.Only(a))
	}
}

// own puts addresses into the reserve.
func (p *pool) own(h ledger.Holdings) {
	for base, b := range h {
		p.reserve.owned.Add(base, b)
		for a := range b.All(base) {
			if !p.taken.Has(a) {
				p.reserve.spare.Add(base, ledger.Only(a))
			}
		}
	}
}

// disown takes addresses out of the reserve.
func (p *pool) disown(base netip.Addr, b ledger.Bits) {
	p.reserve.owned.Remove(base, b)
	p.reserve.spare.Remove(base, b)
}

// idle reports whether this host has enough addresses that nobody uses: it takes no
// more than its share while others may want some.
func (p *pool) idle() bool {
	return uint64(p.memory.len()) >= p.reserve.supply.Share(p.dynamic.Len()) //nolint:gosec // not negative
}

// spareDynamic returns how many spare addresses there are to choose from.
func (p *pool) spareDynamic() int {
	n := 0
	for base, b := range p.reserve.spare {
		n += b.And(ledger.Within(base, p.dynamic)).Len()
	}
	return n
}

// low reports whether there are few addresses left to choose from.
func (p *pool) low() bool { return p.spareDynamic() <= p.reserve.supply.Batch()/4 }

// isShared reports whether other hosts may have the pool as well.
func (p *pool) isShared() bool { return p.reserve != nil }

// ofNetwork reports whether the address belongs to the network, on all hosts, and is
// of that kind there.
func (p *pool) ofNetwork(a netip.Addr, want kind) bool {
	return want == kindGateway && p.Gateway == a || want == kindReserved && slices.Contains(p.Aux, a)
}

// wantsMore reports whether it is time to get more addresses. While this host
// remembers its share for others, it is not.
func (p *pool) wantsMore() bool {
	return p.isShared() && p.network != "" && !p.full() && !p.idle() && p.low()
}

// full reports whether no host could get more when the cluster was last asked. Then
// the next who needs one asks, and nobody before.
func (p *pool) full() bool { return p.reserve.supply.Hosts > 0 && p.reserve.supply.Free == 0 }

// excess returns the spare addresses that are more than so many, the highest ones.
func (p *pool) excess(keep int) ledger.Holdings {
	over := make(ledger.Holdings)
	for _, base := range slices.SortedFunc(maps.Keys(p.reserve.spare), netip.Addr.Compare) {
		b := p.reserve.spare[base].And(ledger.Within(base, p.dynamic))
		kept := b.Lowest(keep)
		keep -= kept.Len()
		over.Add(base, b.Without(kept))
	}
	return over
}
