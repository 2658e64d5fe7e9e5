// Package names knows what the containers of this host are called, and sees to it
// that their queries are answered from that.
//
// It owns what the records of package dns say of this host, the responder in each
// container's namespace, and the one at each network's gateway. It learns of endpoints by the verbs that make and remove
// them, and of what containers are called from the engine. It does not know Docker's
// wire format, what is in a DNS message, or how other hosts hear of names.
//
// # How it works
//
// A name is kept with the endpoint that has it. An endpoint's id is used once, so
// nothing that the engine answers late can give a name an address that it no longer
// has: the names of an endpoint go with it, before its verb is answered.
//
// No request of the protocol tells names. The engine's events tell when to look, and
// one look at the container has all its names; it waits in the engine until the
// container has been started. So the names of other containers are there when a
// process begins, and its own a moment later. Until then what is asked goes to the
// engine's resolver, which has the names of its own host.
//
// Looks wait neither for each other nor does anybody wait for them, and what a lost
// event would have told is found by comparing with the engine from time to time.
package names

import (
	"context"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/dns"
	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/backoff"
	"github.com/ournet/ournet/internal/engine"
	"github.com/ournet/ournet/internal/sandbox"
	"github.com/ournet/ournet/internal/store"
)

// Local is this host in the records of package dns. No host of a cluster has that id.
const Local dns.HostID = "local"

// Engine is what is asked of the engine. It is never asked inside a verb.
type Engine interface {
	Networks(ctx context.Context) (map[string]engine.Network, error)
	Network(ctx context.Context, id string) (engine.Network, error)
	Inspect(ctx context.Context, container string) (engine.Inspection, error)
}

// Announcer tells other hosts what endpoints of this one are called.
type Announcer interface {
	// SetNames is called when they were learned, and when they have changed. By then
	// the endpoint may be gone.
	SetNames(network driver.NetworkID, endpoint driver.EndpointID, name string, aliases []string)
}

// Parts are what [Names] works with.
type Parts struct {
	Records *dns.Records
	// Store keeps what was learned for the next process.
	Store     store.KV
	Engine    Engine
	Sandboxes *sandbox.Sandboxes
	Responder *dns.Responder
	// Announcer may be nil: a host that is alone tells nobody.
	Announcer Announcer
	// Gateways is what the host has to answer at networks' gateways.
	Gateways Gateways
	// TTL is how long answers may be kept, where the network does not say otherwise.
	TTL time.Duration
}

// Names are the names of this host's containers. They are safe for concurrent use.
type Names struct {
	log      logrus.FieldLogger
	parts    Parts
	retry    backoff.Backoff
	looks    chan struct{} // has room for as many as may look at the same time
	work     *work
	stations *stations
	gateways *gateways

	mu        sync.Mutex // guards following
	networks  map[driver.NetworkID]*network
	sandboxes map[string]map[driver.EndpointID]driver.NetworkID
}

const (
	// maxLooks is how many containers may be looked at at the same time. Each of
	// those that are being started keeps its look waiting.
	maxLooks = 64
	// maxTries is how often something is asked of an engine that does not answer;
	// what is still unknown then, the next comparison finds.
	maxTries = 5
)

// New returns names of which none is known. The caller closes it.
func New(log logrus.FieldLogger, parts Parts) *Names {
	n := &Names{
		log: log, parts: parts, work: newWork(), looks: make(chan struct{}, maxLooks),
		retry:    backoff.Backoff{First: 50 * time.Millisecond, Most: 2 * time.Second},
		networks: make(map[driver.NetworkID]*network), sandboxes: make(map[string]map[driver.EndpointID]driver.NetworkID),
	}
	n.stations = newStations(log, parts.Sandboxes, parts.Responder, n.work, n.joined)
	n.gateways = newGateways(log, parts.Gateways, parts.Responder, n.work)
	return n
}

// Load makes the networks and endpoints of an earlier process known, with the names
// that it had learned. They hold until the engine is heard.
func (n *Names) Load(ctx context.Context, all []driver.Attached) {
	for _, a := range all {
		n.SetNetwork(a.Network)
		for _, ep := range a.Endpoints {
			if ep.SandboxKey != "" {
				n.enter(ep)
			}
		}
	}
	n.remember(ctx)
}

// Run keeps the responders in their sandboxes, and at the gateways, until ctx ends.
func (n *Names) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.parts.Sandboxes.Run(ctx) })
	g.Go(func() error {
		n.stations.open(ctx, n.keys())
		return nil
	})
	g.Go(func() error {
		n.gateways.run(ctx)
		return nil
	})
	return g.Wait()
}

// Close ends all that was begun. Queries go to the engine's resolver from then on; a
// client that keeps its socket has to wait for the next process. Call it after Run has
// ended.
func (n *Names) Close() {
	n.parts.Sandboxes.Yield()
	n.work.close()
	n.parts.Sandboxes.Close()
}

// Join makes an endpoint known that has joined its sandbox, and has the responder
// answer there. Nothing that fails here is told: a container without our names is
// better than none, and the next [Names.Compare] tries again.
func (n *Names) Join(ctx context.Context, ep driver.Endpoint) {
	former := n.enter(ep)
	if former != "" {
		n.stations.later(former)
	}
	n.stations.now(ctx, ep.SandboxKey)
}

// Leave forgets an endpoint: from now on no answer has its addresses. With the last
// one of a sandbox the responder leaves as well.
func (n *Names) Leave(network driver.NetworkID, endpoint driver.EndpointID) {
	if former := n.remove(network, endpoint); former != "" {
		n.stations.later(former)
	}
}
