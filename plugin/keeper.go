package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/engine"
	"github.com/ournet/ournet/internal/link"
	"github.com/ournet/ournet/ipam"
)

const (
	// sweepEvery is how often everything is compared, whether or not anything
	// was heard.
	sweepEvery = 30 * time.Second
	// sweepGap is the least time between two sweeps, and sweepDelay that from an
	// event to its sweep, so that a burst of events makes one.
	sweepGap   = time.Second
	sweepDelay = 50 * time.Millisecond
	// sweepTimeout bounds one sweep.
	sweepTimeout = 10 * time.Second
)

// engineView is what the keeper asks of the engine, never inside a verb.
type engineView interface {
	View(ctx context.Context, plugin string) (engine.View, error)
	Watch(ctx context.Context, heard func(engine.Event)) error
}

// linkWatcher tells of devices that come and go.
type linkWatcher interface {
	Watch(ctx context.Context) (<-chan link.Event, error)
}

// ruleWatcher tells of changes that other programs make to the packet filter.
type ruleWatcher interface {
	Watch(ctx context.Context, heard func(by string)) error
}

// entryWatcher tells of changes that others make to the tables of tunnels.
type entryWatcher interface {
	Watch(ctx context.Context, heard func(cause string)) error
}

// syncer tells the cluster of all that this host has of it.
type syncer interface {
	sync(ctx context.Context, networks NetworkLister) error
}

// keeper keeps records, addresses, kernel and engine in agreement: at start, when
// something is heard, and every [sweepEvery].
type keeper struct {
	log        logrus.FieldLogger
	networks   *driver.Registry
	addresses  *ipam.Manager
	verbs      *networkVerbs // what the engine forgot is deleted the way it would have
	devices    linkWatcher
	rules      ruleWatcher
	neighbours engineBridges
	repairs    *repairs
	names      nameKeeper
	engine     engineView
	pluginID   string // "" if no engine runs the plugin
	cluster    syncer
	tunnels    entryWatcher
	// propagator hears of the engine as well.
	propagator *propagator
	// causes are why a sweep is wanted; it has room for one.
	causes chan string

	missing missing // owned by run's goroutine
}

// start brings the kernel to what the records say before the first verb.
func (k *keeper) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := k.neighbours.load(ctx); err != nil {
		// The engine will say it again, soon.
		k.log.WithError(err).Warn("which bridges are the engine's is not known yet")
	}
	aerr := k.addresses.Adopt(ctx, liveNetworks(k.networks.All()))
	did, err := k.networks.Reconcile(ctx)
	for _, what := range did {
		// After a boot nothing is there, so this is no surprise yet.
		k.log.Info("set up: " + what)
	}
	return errors.Join(aerr, err, k.cluster.sync(ctx, k.networks))
}

// run sweeps until ctx ends: every [sweepEvery], and soon after something was heard
// that may need one.
func (k *keeper) run(ctx context.Context) error {
	links, err := k.devices.Watch(ctx)
	if err != nil {
		return fmt.Errorf("watch devices: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return k.rules.Watch(ctx, func(by string) { k.tell("packet filter changed by " + by) })
	})
	g.Go(func() error { return untilDone(ctx, k.tunnels.Watch(ctx, k.tell)) })
	g.Go(func() error {
		return k.engine.Watch(ctx, func(ev engine.Event) {
			k.names.Heard(ev)
			k.propagator.heard(ev)
			if ev.Kind == engine.Resync || ev.Kind == engine.NetworkDestroyed {
				k.tell(causeEngine)
			}
		})
	})
	g.Go(func() error {
		k.loop(ctx, links, k.causes)
		return nil
	})
	return g.Wait()
}

// tell says why a sweep is wanted. It waits for nobody.
func (k *keeper) tell(cause string) {
	select {
	case k.causes <- cause:
	default: // one is waiting already
	}
}

// sweep compares everything once, for a cause. What fails is logged and tried again
// next time.
func (k *keeper) sweep(ctx context.Context, cause string) {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	if err := k.repair(ctx, cause); err != nil {
		k.log.WithError(err).Error("sweep")
	}
	if err := k.cluster.sync(ctx, k.networks); err != nil {
		k.log.WithError(err).Error("sweep what the cluster was told")
	}
	all, err := k.engine.View(ctx, k.pluginID) // our own engine's alone
	if err != nil {
		// Without its word nothing is taken for dead.
		k.log.WithError(err).Debug("the engine was not asked what it still knows")
		return
	}
	view := all.Networks
	if err := k.isolate(ctx, all.Bridges); err != nil {
		k.log.WithError(err).Error("isolate networks from the engine's own")
	}
	k.repairs.report(k.log, cause, k.names.Compare(ctx, view))
	if err := k.forget(ctx, view); err != nil {
		k.log.WithError(err).Error("remove what the engine no longer knows")
	}
	reclaimed, err := k.addresses.Sweep(ctx, subnets(view))
	for _, what := range reclaimed {
		k.log.Warn("reclaimed " + what)
	}
	if err != nil {
		k.log.WithError(err).Error("sweep addresses")
	}
}

// isolate keeps our networks apart from the engine's own: the names of their bridges
// need not tell.
func (k *keeper) isolate(ctx context.Context, bridges []string) error {
	news, err := k.neighbours.set(ctx, bridges)
	if news {
		err = errors.Join(err, k.repair(ctx, causeEngine))
	}
	return err
}

func (k *keeper) repair(ctx context.Context, cause string) error {
	did, err := k.networks.Reconcile(ctx)
	k.repairs.report(k.log, cause, did)
	return err
}

// forget removes what the engine no longer knows. The engine forgets networks
// and endpoints without a word while the plugin does not answer.
func (k *keeper) forget(ctx context.Context, view map[string]engine.Network) error {
	gone := k.missing.judge(k.networks.All(), view, time.Now())
	var errs []error
	for _, ep := range gone.endpoints {
		k.log.WithField("endpoint", ep.ID.Short()).Warn("endpoint removed: the engine no longer knows it")
		errs = append(errs, k.forgetEndpoint(ctx, ep))
	}
	for _, id := range gone.networks {
		k.log.WithField("network", id.Short()).Warn("network removed: the engine no longer knows it")
		errs = append(errs, k.releasePools(ctx, id), k.verbs.loseNetwork(ctx, id))
	}
	return errors.Join(errs...)
}

// forgetEndpoint removes an endpoint and gives back its addresses, as the engine would
// have. One that has been taken up by another endpoint is let alone.
func (k *keeper) forgetEndpoint(ctx context.Context, ep driver.Endpoint) error {
	return k.verbs.dropEndpoint(ctx, ep.Network, ep.ID, func(n driver.Network, ep driver.Endpoint) error {
		var errs []error
		for _, l := range ownLeases(n, ep) {
			errs = append(errs, k.addresses.FreeAddress(ctx, l.pool, l.addr, string(ep.ID)))
		}
		return errors.Join(errs...)
	})
}

// releasePools gives back the pools of a network that is about to be removed; they go
// with it.
func (k *keeper) releasePools(ctx context.Context, id driver.NetworkID) error {
	n, _ := k.networks.Network(id)
	var errs []error
	for _, pool := range ownPools(n) {
		errs = append(errs, k.addresses.ReleasePool(ctx, pool))
	}
	return errors.Join(errs...)
}

// liveNetworks says which pools and addresses the records are bound to.
func liveNetworks(records []driver.Attached) []ipam.LiveNetwork {
	live := make([]ipam.LiveNetwork, 0, len(records))
	for _, a := range records {
		ln := ipam.LiveNetwork{
			Network:   string(a.Network.ID),
			Pools:     ownPools(a.Network),
			Endpoints: make(map[string][]netip.Addr, len(a.Endpoints)),
		}
		for _, ep := range a.Endpoints {
			ln.Endpoints[string(ep.ID)] = ep.Addrs()
		}
		live = append(live, ln)
	}
	return live
}

// subnets returns all subnets of the engine's networks.
func subnets(view map[string]engine.Network) []netip.Prefix {
	var all []netip.Prefix
	for _, n := range view {
		all = append(all, n.Subnets...)
	}
	return all
}
