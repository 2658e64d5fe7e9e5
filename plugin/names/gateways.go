package names

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/dns"
	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/doorway"
)

const (
	// keepEvery is how often gateways are seen to. Queries come to them for twice as long
	// after the last time, so that one may be late by as much.
	keepEvery = 1500 * time.Millisecond
	// leadTimeout bounds how long to wait for other work on the packet filter, as at the
	// start of a plugin that has much to put right. After that queries no longer come.
	leadTimeout = 2 * keepEvery
)

// Door is an address that the host has on a network's device.
type Door struct {
	Device string
	Addr   netip.Addr
}

// Gateways is what is needed to answer at networks' gateways. The zero value is for a
// host that does not.
type Gateways struct {
	// Doors returns the addresses at which the host can be asked by a network.
	Doors func(n driver.Network) []Door
	// Port is where it listens there. The port that clients send to may be taken.
	Port uint16
	// Lead has the queries at exactly these doors come to Port, for three seconds from
	// now, also those of clients that have asked elsewhere without a pause. It is called
	// by one goroutine.
	Lead func(ctx context.Context, doors []Door) error
	// Servers returns the ways to those who are asked for what is not ours.
	Servers func() []dns.Dial
}

// gateways are the responders at the gateways of this host's networks.
type gateways struct {
	log       logrus.FieldLogger
	parts     Gateways
	responder *dns.Responder
	work      *work
	listen    func(ctx context.Context, device string, at netip.AddrPort) (*doorway.Doorway, error)
	// news has something in it when wanted has changed.
	news chan struct{}

	mu     sync.Mutex // guards wanted
	wanted map[driver.NetworkID][]Door

	// What follows is of the goroutine that runs them.
	open map[place]*counter
	// leading says that there may be doors that queries come by.
	leading bool
	// complained has those of which it was told that they are not open, and for the
	// zero place that queries do not come.
	complained map[place]bool
}

// place is a door of a network.
type place struct {
	network driver.NetworkID
	Door
}

// counter is where a network is served.
type counter struct {
	*doorway.Doorway
	// shut is closed before the sockets are, so that who finds them closed knows why.
	shut chan struct{}
}

func newGateways(log logrus.FieldLogger, parts Gateways, responder *dns.Responder, w *work) *gateways {
	return &gateways{
		log: log, parts: parts, responder: responder, work: w, listen: doorway.Open, news: make(chan struct{}, 1),
		wanted: make(map[driver.NetworkID][]Door), open: make(map[place]*counter), complained: make(map[place]bool),
	}
}

// set has a network be served at its doors, soon.
func (g *gateways) set(n driver.Network) {
	if g.parts.Doors != nil {
		g.change(n.ID, g.parts.Doors(n))
	}
}

// remove has a network no longer be served, soon.
func (g *gateways) remove(id driver.NetworkID) { g.change(id, nil) }

func (g *gateways) change(id driver.NetworkID, doors []Door) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.Equal(g.wanted[id], doors) {
		return
	}
	if len(doors) > 0 {
		g.wanted[id] = doors
	} else {
		delete(g.wanted, id)
	}
	select {
	case g.news <- struct{}{}:
	default: // it will be seen all the same
	}
}

// run serves until ctx ends.
func (g *gateways) run(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		g.settle(ctx, g.places())
		select {
		case <-ctx.Done():
			g.settle(context.WithoutCancel(ctx), nil)
			return
		case <-g.news:
		case <-tick.C:
		}
	}
}

// places returns where there is to be a responder.
func (g *gateways) places() map[place]bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make(map[place]bool)
	for id, doors := range g.wanted {
		for _, d := range doors {
			all[place{id, d}] = true
		}
	}
	return all
}

// settle brings what is open to what is wanted, and has queries come to that. A bridge
// that somebody has deleted, and that is back, is opened anew.
func (g *gateways) settle(ctx context.Context, wanted map[place]bool) {
	var doors []Door
	for p, c := range g.open {
		if !c.Leads() {
			g.shut(p, c)
		}
	}
	for p := range wanted {
		if g.open[p] == nil {
			g.begin(ctx, p)
		}
		if g.open[p] != nil {
			doors = append(doors, p.Door)
		}
	}
	g.lead(ctx, doors)
	// Only now: no query finds closed what it was led to.
	for p, c := range maps.Clone(g.open) {
		if !wanted[p] {
			g.shut(p, c)
		}
	}
}

func (g *gateways) shut(p place, c *counter) {
	close(c.shut)
	c.Close()
	delete(g.open, p)
}

// begin opens a place and has the responder answer there.
func (g *gateways) begin(ctx context.Context, p place) {
	way, err := g.listen(ctx, p.Device, netip.AddrPortFrom(p.Addr, g.parts.Port))
	if errors.Is(err, doorway.ErrNoDevice) {
		return // it is being made, or made again
	}
	g.tell(p, err, "a network's gateway does not answer names")
	if err != nil {
		return
	}
	c := &counter{Doorway: way, shut: make(chan struct{})}
	g.open[p] = c
	g.work.begin(func(life context.Context) {
		served := dns.Gateway{UDP: way.UDP, TCP: way.TCP, Servers: g.parts.Servers}
		err := g.responder.ServeGateway(life, dns.NetworkID(p.network), served)
		select {
		case <-c.shut:
		case <-life.Done():
		default:
			g.log.WithError(err).WithField("network", p.network.Short()).Error("a gateway's responder ended; it is put back soon")
		}
	})
}

// lead has queries come by these doors, which takes nothing where there are none.
func (g *gateways) lead(ctx context.Context, doors []Door) {
	if len(doors) == 0 && !g.leading {
		return
	}
	slices.SortFunc(doors, func(a, b Door) int {
		if c := strings.Compare(a.Device, b.Device); c != 0 {
			return c
		}
		return a.Addr.Compare(b.Addr)
	})
	ctx, cancel := context.WithTimeout(ctx, leadTimeout)
	defer cancel()
	err := g.parts.Lead(ctx, doors)
	g.leading = len(doors) > 0 || err != nil
	g.tell(place{}, err, "names are not asked by all at the networks' gateways")
}

// tell logs what is wrong with a place, once until it is right.
func (g *gateways) tell(p place, err error, what string) {
	switch {
	case err == nil:
		delete(g.complained, p)
	case !g.complained[p]:
		g.complained[p] = true
		g.log.WithError(err).WithField("network", p.network.Short()).Error(what)
	}
}
