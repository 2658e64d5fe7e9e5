package plugin

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/engine"
)

const (
	// rivalTime is how long a user's request waits for propagation to get out of its
	// way: most of a verb's time. It makes and removes one network meanwhile.
	rivalTime = 3500 * time.Millisecond
	// rivalLife is how long propagation makes nothing because of a user's network that
	// is on its way. The engine tells of its end, but for what it lost itself.
	rivalLife = 10 * time.Second
)

// errRival says that propagation made no network because a user makes one just now,
// perhaps the same.
var errRival = errors.New("somebody makes a network on this host at this moment")

// rivals keeps users and propagation from making the same network at the same moment,
// on an engine that would have two of one name then: those before 25 look whether a name
// is free before they ask us, and not again. The user comes first: propagation waits for
// what users make, and takes back what it made itself when a user's request came
// meanwhile. Of a network of ours the engine asks for a pool before it makes it, so no
// user's request passes unseen.
type rivals struct {
	mu     sync.Mutex           // guards all below
	users  map[string]time.Time // since when networks of users are on their way: by request, then pool, then network
	count  int                  // of requests
	making *making              // nil while propagation makes nothing
}

// making is a network that propagation has the engine make.
type making struct {
	// asked are its subnets that the engine has not asked for yet.
	asked map[netip.Prefix]bool
	// wanted says that a user's request waits for the end.
	wanted bool
	done   chan struct{} // closed at the end
}

func newRivals() *rivals { return &rivals{users: make(map[string]time.Time)} }

// begin is called before propagation has a network made. It reports whether it may, now.
func (r *rivals) begin(d engine.Definition) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.users, func(_ string, since time.Time) bool { return time.Since(since) > rivalLife })
	if len(r.users) > 0 {
		return false
	}
	r.making = &making{asked: make(map[netip.Prefix]bool), done: make(chan struct{})}
	for _, s := range d.IPAM.Subnets {
		r.making.asked[s.Subnet] = true
	}
	return true
}

// end is called once the network is made, or could not be. It reports whether it has to
// be taken back, since a user waits; then end is to be called again with that said.
func (r *rivals) end(takenBack bool) (takeBack bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.making.wanted && !takenBack {
		return true
	}
	close(r.making.done)
	r.making = nil
	return false
}

// enter is called when the engine asks for a pool; subnet is not valid if any will do.
// It waits while propagation makes a network that this is not a pool of. answered is to
// be called with the answer.
//
// If a user asks for the very subnet of that network before its own request came, it is
// that one which waits, in vain, and is refused.
func (r *rivals) enter(ctx context.Context, subnet netip.Prefix) (answered func(pool string, err error)) {
	waiting, cancel := context.WithTimeout(ctx, rivalTime)
	defer cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	for m := r.making; m != nil && waiting.Err() == nil; m = r.making {
		if m.asked[subnet] {
			delete(m.asked, subnet)
			return func(string, error) {} // propagation's own
		}
		m.wanted = true
		r.mu.Unlock()
		m.await(waiting)
		r.mu.Lock()
	}
	r.count++
	request := "request " + strconv.Itoa(r.count)
	r.users[request] = time.Now()
	return func(pool string, err error) {
		if err != nil {
			pool = ""
		}
		r.becomes(pool, request)
	}
}

// await waits for the end, as long as ctx lasts.
func (m *making) await(ctx context.Context) {
	select {
	case <-m.done:
	case <-ctx.Done():
	}
}

// becomes notes that what was known of users by some names is one step further under
// another, or ended if that is "". What was not known stays so.
func (r *rivals) becomes(name string, before ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range before {
		if since, ok := r.users[b]; ok && name != "" {
			r.users[name] = since
		}
		delete(r.users, b)
	}
}

// makeAlone has the engine make a network as no user does at the same moment, or fails
// with [errRival].
func (p *propagator) makeAlone(ctx context.Context, d engine.Definition) (id string, err error) {
	unique, err := p.engine.NamesUnique(ctx)
	if err != nil {
		return "", err
	}
	if unique {
		return p.engine.CreateNetwork(ctx, d)
	}
	if !p.rivals.begin(d) {
		return "", errRival
	}
	id, err = p.engine.CreateNetwork(ctx, d)
	if !p.rivals.end(false) {
		return id, err
	}
	defer p.rivals.end(true)
	if err != nil {
		return "", errors.Join(errRival, err)
	}
	return "", errors.Join(errRival, p.giveUp(ctx, driver.NetworkID(id)))
}

// giveUp has the engine remove a network from this host alone.
func (p *propagator) giveUp(ctx context.Context, id driver.NetworkID) error {
	p.cluster.giveUp(id, true)
	err := p.engine.RemoveNetwork(ctx, string(id))
	if err != nil {
		p.cluster.giveUp(id, false) // it stays, and a user may remove it everywhere
	}
	return err
}
