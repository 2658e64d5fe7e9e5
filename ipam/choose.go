package ipam

import (
	"fmt"
	"net/netip"
	"time"
	"unicode/utf8"

	"github.com/ournet/ournet/internal/addrset"
)

// maxName is the longest container name in bytes that is remembered.
const maxName = 255

// cleanName returns the name if it can be kept as it is, else "": the engine
// takes any text, and an address can be had without a name.
func cleanName(name string) string {
	if len(name) > maxName || !utf8.ValidString(name) {
		return ""
	}
	return name
}

// grant is a pool's answer to a request.
type grant struct {
	addr netip.Addr
	// record is to be written before addr is the asker's; nil means that it
	// has been already.
	record *leaseRecord
	// wait, if not nil, is all of the answer: ask again when it is closed.
	wait <-chan struct{}
	// need, if there is one, is all of the answer beside addr: ask again when it
	// is met; gateway is what addr is to be, where that is the network's.
	need    need
	gateway bool
}

// need is what of a pool that hosts share has to be agreed on with them first.
type need int

const (
	needNothing need = iota
	// needAddress is that the address becomes this host's.
	needAddress
	// needShared is that the address, or any if it is not valid, becomes the network's.
	needShared
	// needMore is that any address becomes this host's.
	needMore
	// needOthers is that another host gives one that it does not use.
	needOthers
)

// tried says what was done for a request so far, to no avail.
type tried struct {
	// more is that no host can get more addresses of the cluster, others that no
	// host could give one.
	more, others bool
	// joined is that this host had been taken out of the pool and joined again.
	joined bool
	// away is why the cluster could not be asked.
	away error
}

// choose answers a request. It changes nothing but the cursor.
func (p *pool) choose(req AddressRequest, t tried, now time.Time, confirm time.Duration) (grant, error) {
	switch {
	case req.Gateway && req.Address.IsValid():
		return p.chooseGiven(req.Address, leaseRecord{Kind: kindGateway})
	case req.Gateway:
		return p.chooseGateway()
	case req.Address.IsValid() && req.Name == "" && p.network == "":
		// The engine asks for auxiliary addresses while it makes the network,
		// and for a container's only when it is made.
		return p.chooseGiven(req.Address, leaseRecord{Kind: kindReserved})
	case req.Address.IsValid():
		return p.chooseGiven(req.Address, leaseRecord{Kind: kindStatic, Name: req.Name})
	default:
		return p.chooseAny(req.Name, t, now, confirm)
	}
}

func (p *pool) chooseGiven(addr netip.Addr, want leaseRecord) (grant, error) {
	if !p.Subnet.Contains(addr) {
		return grant{}, fmt.Errorf("%w: address %s is not in subnet %s", ErrRequest, addr, p.Subnet)
	}
	if !p.hosts.Contains(addr) {
		return grant{}, fmt.Errorf("%w: address %s is the network or broadcast address of %s; choose one from %s to %s",
			ErrRequest, addr, p.Subnet, p.hosts.First, p.hosts.Last)
	}
	l := p.leases[addr]
	switch {
	case l != nil && l.writing != nil:
		return grant{wait: l.writing}, nil
	case l == nil || !l.Released.IsZero():
		if p.isShared() {
			return p.chooseShared(addr, want)
		}
		return p.grant(addr, want), nil
	case l.repeatedBy(want) && (p.mayGive(addr) || want.ofNetwork()):
		return grant{addr: addr}, nil
	default:
		return grant{}, fmt.Errorf("address %s is %w by %s", addr, ErrInUse, l.holder(p))
	}
}

// chooseShared answers a request for a given address that this host has not leased.
func (p *pool) chooseShared(addr netip.Addr, want leaseRecord) (grant, error) {
	switch {
	case want.ofNetwork() && !p.ofNetwork(addr, want.Kind):
		return grant{addr: addr, need: needShared, gateway: want.Kind == kindGateway}, nil
	case want.ofNetwork():
		return p.grant(addr, want), nil
	case p.ofNetwork(addr, kindGateway):
		return grant{}, fmt.Errorf("address %s is %w by the gateway of %s", addr, ErrInUse, p.title())
	case p.ofNetwork(addr, kindReserved):
		return grant{}, fmt.Errorf("address %s is %w by an auxiliary address of %s", addr, ErrInUse, p.title())
	case !p.mayGive(addr):
		return grant{addr: addr, need: needAddress}, nil
	default:
		return p.grant(addr, want), nil
	}
}

// repeatedBy reports whether want can be the repeated request for l, of which
// the engine did not get the answer. Once an endpoint has it, it did.
func (l *lease) repeatedBy(want leaseRecord) bool {
	switch {
	case l.Kind == kindGateway:
		return want.Kind == kindGateway
	case l.endpoint != "" || l.Name != want.Name:
		return false
	case l.Kind == kindDynamic: // without a name it may be anybody's
		return want.Kind == kindStatic && want.Name != ""
	default:
		return l.Kind == want.Kind
	}
}

func (p *pool) chooseGateway() (grant, error) {
	want := leaseRecord{Kind: kindGateway}
	if l := p.leases[p.gateway]; l != nil {
		if l.writing != nil {
			return grant{wait: l.writing}, nil
		}
		return grant{addr: p.gateway}, nil
	}
	if p.isShared() {
		if p.Gateway.IsValid() {
			return p.grant(p.Gateway, want), nil
		}
		return grant{need: needShared, gateway: true}, nil
	}
	// Not bounded by the range, which is for containers.
	if addr, ok := p.taken.NextFree(p.hosts); ok {
		return p.grant(addr, want), nil
	}
	for addr := range p.memory.oldest {
		return p.grant(addr, want), nil
	}
	return grant{}, p.exhausted()
}

// chooseAny finds an address that nobody asked for by number.
//
// A name gets back the address that it had. Engines before 29 send no name, and
// what then looks best is a guess: a container that stops and starts again at
// once shall keep its address, so the address that was released last, if that is
// not longer ago than confirm, is given out first. The price is that of two such
// containers that restart together each may get the other's, and that a new
// container may get the address of one that has just gone. Otherwise the search
// goes on upwards from the last address it found, so that an address rests as
// long as possible before it is someone else's. A remembered one is taken only
// when there is nothing else, the one longest released first.
//
// Of a pool that hosts share only what this host has in reserve is given. When
// nothing of it is free, it takes more of the cluster, unless it has its share of
// remembered ones; and at last it asks other hosts.
func (p *pool) chooseAny(name string, t tried, now time.Time, confirm time.Duration) (grant, error) {
	want := leaseRecord{Kind: kindDynamic, Name: name}
	if name != "" {
		if g, ok := p.chooseNamed(name); ok {
			return g, nil
		}
	} else {
		for addr, at := range p.recent.newest {
			if now.Sub(at) >= confirm {
				break
			}
			if p.leases[addr].writing == nil && p.dynamic.Contains(addr) && p.mayGive(addr) {
				return p.grant(addr, want), nil
			}
		}
	}
	addr, ok := p.nextFree(addrset.Range{First: p.cursor, Last: p.dynamic.Last})
	if !ok {
		addr, ok = p.nextFree(p.dynamic)
	}
	if ok {
		if p.cursor = addr.Next(); !p.dynamic.Contains(p.cursor) {
			p.cursor = p.dynamic.First
		}
		return p.grant(addr, want), nil
	}
	if p.isShared() && !t.more && !p.idle() {
		return grant{need: needMore}, nil
	}
	for addr := range p.memory.oldest {
		if p.dynamic.Contains(addr) && p.mayGive(addr) {
			return p.grant(addr, want), nil
		}
	}
	switch {
	case p.isShared() && !t.more:
		return grant{need: needMore}, nil
	case p.isShared() && !t.others:
		return grant{need: needOthers}, nil
	case t.away != nil:
		return grant{}, fmt.Errorf("this host has no address of %s in reserve: %w", p.title(), t.away)
	}
	return grant{}, p.exhausted()
}

// chooseNamed returns the address that the name has or had. It reports false if
// there is none, or none that it could have again.
func (p *pool) chooseNamed(name string) (grant, bool) {
	addr, ok := p.names.current(name)
	if !ok {
		return grant{}, false
	}
	switch l := p.leases[addr]; {
	case l.writing != nil:
		return grant{wait: l.writing}, true
	case !l.Released.IsZero():
		return p.grant(addr, leaseRecord{Kind: kindDynamic, Name: name}), p.dynamic.Contains(addr) && p.mayGive(addr)
	default: // asked twice; but a bound one is of another container by that name
		return grant{addr: addr}, l.endpoint == "" && p.mayGive(addr)
	}
}

// grant grants an address that is free, as soon as nobody is writing it.
func (p *pool) grant(addr netip.Addr, want leaseRecord) grant {
	if l := p.leases[addr]; l != nil && l.writing != nil {
		return grant{wait: l.writing}
	}
	return grant{addr: addr, record: &want}
}

func (p *pool) exhausted() error {
	used := 0
	for addr, l := range p.leases {
		if l.Released.IsZero() && p.dynamic.Contains(addr) {
			used++
		}
	}
	if p.isShared() {
		return fmt.Errorf("%w in %s: all %d from %s to %s are with the hosts of the cluster, of which this one has %d leased; "+
			"remove containers, or create the network with a larger --subnet or --ip-range",
			ErrExhausted, p.title(), p.dynamic.Len(), p.dynamic.First, p.dynamic.Last, used)
	}
	return fmt.Errorf("%w in %s: %d of the %d addresses from %s to %s are leased; "+
		"remove containers, or create the network with a larger --subnet or --ip-range",
		ErrExhausted, p.title(), used, p.dynamic.Len(), p.dynamic.First, p.dynamic.Last)
}
