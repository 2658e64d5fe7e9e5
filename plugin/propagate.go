package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/backoff"
	"github.com/ournet/ournet/internal/engine"
)

const (
	// lookGap is the least time between two looks, so that a burst of news makes few.
	lookGap = 50 * time.Millisecond
	// lookEvery is how often all is compared though nothing was heard.
	lookEvery = 30 * time.Second
)

// networkMaker is what propagation asks of the engine, never inside a verb.
type networkMaker interface {
	Runs(ctx context.Context, plugin string) (bool, error)
	Definitions(ctx context.Context) (map[string]engine.Defined, error)
	// NamesUnique reports whether the engine never has two networks of one name.
	NamesUnique(ctx context.Context) (bool, error)
	CreateNetwork(ctx context.Context, d engine.Definition) (id string, err error)
	RemoveNetwork(ctx context.Context, id string) error
}

// sharing is what propagation knows of the cluster and tells it.
type sharing interface {
	// shared returns all networks of the cluster, from memory.
	shared() []sharedNetwork
	// local returns those that this host has on record.
	local() []localNetwork
	// complete tells the cluster what the engine knows of a network.
	complete(ctx context.Context, shared string, local driver.NetworkID, d engine.Definition) error
	// known says that the engine has those networks for good, so that removing one is
	// what a user wants, and no end of a creation that failed.
	known(ids ...driver.NetworkID)
	// giveUp says whether this host gives a network up, which goes on being the cluster's.
	giveUp(id driver.NetworkID, yes bool)
}

// propagator has the networks of the cluster made and removed by this host's engine, as
// they are on other hosts. It asks the engine as a user would, and the engine asks the
// plugin's verbs in turn, so it runs beside them and holds nothing that they need.
type propagator struct {
	log      logrus.FieldLogger
	engine   networkMaker
	cluster  sharing
	rivals   *rivals
	name     string // of the drivers, as this host's engine finds them
	pluginID string // "" if no engine runs the plugin
	active   bool   // whether to make and remove, or only to tell the cluster
	wake     chan struct{}
	retry    backoff.Backoff

	ours bool // whether the engine is known to be ours; owned by run's goroutine

	mu       sync.Mutex        // guards problems
	problems map[string]string // by the cluster's id
}

func newPropagator(log logrus.FieldLogger, of networkMaker, cluster sharing) *propagator {
	return &propagator{
		log: log, engine: of, cluster: cluster, rivals: newRivals(), wake: make(chan struct{}, 1),
		retry: backoff.Backoff{First: 200 * time.Millisecond, Most: lookEvery},
	}
}

// tell says that something may have changed. It never blocks.
func (p *propagator) tell() {
	select {
	case p.wake <- struct{}{}:
	default: // one is waiting already
	}
}

// heard takes the engine's news.
func (p *propagator) heard(ev engine.Event) {
	switch ev.Kind {
	case engine.NetworkCreated:
		p.cluster.known(driver.NetworkID(ev.Network))
		p.rivals.becomes("", ev.Network)
	case engine.Resync, engine.NetworkDestroyed:
	case engine.Disconnected:
		if len(p.troubles()) == 0 {
			return // nothing waits for a network to be empty
		}
	case engine.Connected, engine.Renamed:
		return
	}
	p.tell()
}

// troubles returns why networks of the cluster are not here as they should be, by the
// cluster's id.
func (p *propagator) troubles() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.problems)
}

// run looks again and again until ctx ends: when told, when it is time, and sooner after
// something failed. The engine does not answer for a while after it has started us.
func (p *propagator) run(ctx context.Context) error {
	next := time.NewTimer(0)
	defer next.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		case <-p.wake:
		}
		began := time.Now()
		wait := lookEvery
		if err := p.look(ctx); err != nil {
			p.log.WithError(err).Debug("networks of the cluster are not all as they should be here")
			wait = p.retry.Pause(failures)
			failures++
		} else {
			failures = 0
		}
		next.Reset(wait)
		gap := time.NewTimer(lookGap - time.Since(began))
		select {
		case <-ctx.Done():
		case <-gap.C:
		}
		gap.Stop()
	}
}

// look compares once and does what is to be done. Its error says that something is to
// be tried again soon.
func (p *propagator) look(ctx context.Context) error {
	shared, local := p.cluster.shared(), p.cluster.local()
	if len(shared) == 0 && len(local) == 0 {
		p.report(nil, nil)
		return nil
	}
	have, err := p.ask(ctx)
	if err != nil {
		return err
	}
	for _, l := range local {
		if _, ok := have[string(l.id)]; ok {
			p.cluster.known(l.id)
		}
	}
	todo := planNetworks(shared, local, have, p.active)
	var errs []error
	for _, s := range todo.steps {
		if err := p.take(ctx, s); err != nil {
			errs = append(errs, err)
			if !errors.Is(err, errRival) {
				todo.problems[s.shared] = err.Error()
			}
		}
	}
	p.report(todo.problems, shared)
	return errors.Join(errs...)
}

// ask returns what our own engine has, and no other's.
func (p *propagator) ask(ctx context.Context) (map[string]engine.Defined, error) {
	if p.pluginID != "" && !p.ours {
		ours, err := p.engine.Runs(ctx, p.pluginID)
		if err != nil {
			return nil, err
		}
		if !ours {
			return nil, engine.ErrOther
		}
		p.ours = true
	}
	have, err := p.engine.Definitions(ctx)
	p.ours = p.ours && err == nil
	return have, err
}

// take does one thing.
func (p *propagator) take(ctx context.Context, s step) error {
	log := p.log.WithField("cluster_network", driver.NetworkID(s.shared).Short())
	switch s.do {
	case stepComplete:
		return p.cluster.complete(ctx, s.shared, s.local, s.definition)
	case stepRemove:
		if err := p.engine.RemoveNetwork(ctx, string(s.local)); err != nil {
			return err
		}
		log.WithField("network", s.local.Short()).Info("network removed, as on another host")
	case stepGiveUp:
		if err := p.giveUp(ctx, s.local); err != nil {
			return err
		}
		log.WithField("network", s.local.Short()).Info("network removed from this host, which has another one of the name")
	case stepCreate:
		d := s.definition
		d.Driver, d.IPAM.Driver = p.name, p.name
		id, err := p.makeAlone(ctx, d)
		if err != nil {
			return err // of a name that somebody was quicker to take, the next look says whose it is
		}
		p.cluster.known(driver.NetworkID(id))
		log.WithFields(logrus.Fields{"network": driver.NetworkID(id).Short(), "name": d.Name}).Info("network made, as on another host")
	default:
		return fmt.Errorf("unknown step %d", s.do)
	}
	return nil
}

// report keeps problems to be shown, and logs each that is new.
func (p *propagator) report(problems map[string]string, shared []sharedNetwork) {
	p.mu.Lock()
	before := p.problems
	p.problems = problems
	p.mu.Unlock()
	for _, n := range shared {
		if what, ok := problems[n.id]; ok && before[n.id] != what {
			p.log.WithFields(logrus.Fields{"cluster_network": driver.NetworkID(n.id).Short(), "name": n.definition.Name}).Warn(what)
		}
	}
}
