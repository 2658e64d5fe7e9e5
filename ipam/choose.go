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
}

// choose answers a request. It changes nothing but the cursor.
func (p *pool) choose(req AddressRequest, now time.Time, confirm time.Duration) (grant, error) {
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
		return p.chooseAny(req.Name, now, confirm)
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
	case l == nil || l.writing != nil || !l.Released.IsZero():
		return p.take(addr, want), nil
	case l.repeatedBy(want):
		return grant{addr: addr}, nil
	default:
		return grant{}, fmt.Errorf("address %s is %w by %s", addr, ErrInUse, l.holder(p))
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
	// Not bounded by the range, which is for containers.
	if addr, ok := p.taken.NextFree(p.hosts); ok {
		return p.take(addr, want), nil
	}
	for addr := range p.memory.oldest {
		return p.take(addr, want), nil
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
func (p *pool) chooseAny(name string, now time.Time, confirm time.Duration) (grant, error) {
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
			if p.leases[addr].writing == nil && p.dynamic.Contains(addr) {
				return p.take(addr, want), nil
			}
		}
	}
	addr, ok := p.taken.NextFree(addrset.Range{First: p.cursor, Last: p.dynamic.Last})
	if !ok {
		addr, ok = p.taken.NextFree(p.dynamic)
	}
	if ok {
		if p.cursor = addr.Next(); !p.dynamic.Contains(p.cursor) {
			p.cursor = p.dynamic.First
		}
		return p.take(addr, want), nil
	}
	for addr := range p.memory.oldest {
		if p.dynamic.Contains(addr) {
			return p.take(addr, want), nil
		}
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
		return p.take(addr, leaseRecord{Kind: kindDynamic, Name: name}), p.dynamic.Contains(addr)
	default: // asked twice; but a bound one is of another container by that name
		return grant{addr: addr}, l.endpoint == ""
	}
}

// take grants an address that is free, as soon as nobody is writing it.
func (p *pool) take(addr netip.Addr, want leaseRecord) grant {
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
	return fmt.Errorf("%w in %s: %d of the %d addresses from %s to %s are leased; "+
		"remove containers, or create the network with a larger --subnet or --ip-range",
		ErrExhausted, p.title(), used, p.dynamic.Len(), p.dynamic.First, p.dynamic.Last)
}
