package plugin

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/engine"
)

// labelComposeProject marks a network that Compose made.
const labelComposeProject = "com.docker.compose.project"

// sharedNetwork is a network of the cluster, as propagation sees it.
type sharedNetwork struct {
	// id is the cluster's.
	id string
	// definition is what its creator's engine said of it; it has a name only if
	// complete is set.
	definition engine.Definition
	complete   bool
	// ours says that this host made it, and so has to complete it.
	ours bool
	// removed says that somebody removed it on some host, so it is to go on all.
	removed bool
	created time.Time
	// endpoints is how many it has on all hosts.
	endpoints int
}

// localNetwork is a network of the cluster that this host has on record.
type localNetwork struct {
	id        driver.NetworkID // this engine's
	shared    string           // the cluster's
	endpoints int              // on this host
}

// step is one thing to do about a network.
type step struct {
	do stepKind
	// shared is the cluster's id.
	shared string
	// local is the engine's id of what is to be completed or removed.
	local driver.NetworkID
	// definition is what is to be made, or to be told to the cluster.
	definition engine.Definition
}

type stepKind int

const (
	// stepComplete tells the cluster what the engine knows of a network.
	stepComplete stepKind = iota
	// stepRemove has the engine remove a network.
	stepRemove
	// stepCreate has the engine make a network.
	stepCreate
	// stepGiveUp has the engine remove a network that is to stay on other hosts.
	stepGiveUp
)

// plan is what is to be done to have the networks of the cluster on this host, and why
// some of them cannot be had, by the cluster's id.
type plan struct {
	active   bool // whether networks are made and removed as on other hosts
	steps    []step
	problems map[string]string
}

// planNetworks compares the networks of the cluster with those that this host has on
// record, and with all that the engine has, by the engine's id. It is the same at every
// look, so what was missed once is seen at the next. If active is not set, nothing is to
// be made or removed here because of other hosts, and nothing lacks.
//
// A name is never taken from a network of this host; on an engine that has two networks
// of one name all the same, what other hosts made gives way. The one exception are two networks
// that Compose made of the same file on two hosts at the same moment: as long as nobody
// is on the later one it gives way to the earlier.
func planNetworks(shared []sharedNetwork, local []localNetwork, have map[string]engine.Defined, active bool) plan {
	p := plan{active: active, problems: make(map[string]string)}
	byID := make(map[string]sharedNetwork, len(shared))
	for _, n := range shared {
		byID[n.id] = n
	}
	here := make(map[string]bool, len(local))
	byLocal := make(map[driver.NetworkID]localNetwork, len(local))
	for _, l := range local {
		here[l.shared], byLocal[l.id] = true, l
		defined, known := have[string(l.id)]
		if n, ok := byID[l.shared]; ok && known {
			p.keep(n, l, defined)
		}
	}
	if !active {
		return p
	}
	names := make(map[string]engine.Defined, len(have))
	for _, id := range slices.Sorted(maps.Keys(have)) {
		names[have[id].Name] = have[id]
	}
	p.separate(byID, byLocal, have)
	slices.SortFunc(shared, compareAge)
	for _, n := range shared {
		if here[n.id] || n.removed || !n.complete {
			continue
		}
		taken, ok := names[n.definition.Name]
		if !ok {
			p.steps = append(p.steps, step{do: stepCreate, shared: n.id, definition: n.definition})
			continue
		}
		l, isLocal := byLocal[driver.NetworkID(taken.ID)]
		rival, ok := byID[l.shared]
		switch {
		case isLocal && ok && givesWay(rival, n):
			p.steps = append(p.steps, step{do: stepRemove, shared: rival.id, local: l.id})
			continue // the name is free at the next look
		case isLocal && ok && givesWay(n, rival):
			continue // its own host sees to it
		}
		p.problems[n.id] = nameTaken(n.definition.Name, taken)
	}
	return p
}

// keep adds what is to be done about a network that is here and that the engine knows.
func (p *plan) keep(n sharedNetwork, l localNetwork, defined engine.Defined) {
	switch {
	case n.removed && !p.active:
		p.problems[n.id] = fmt.Sprintf("removed on another host; PROPAGATE=false keeps it on this one: remove it here with `docker network rm %s`", defined.Name)
	case n.removed && l.endpoints > 0:
		p.problems[n.id] = fmt.Sprintf("removed on another host; it goes when its last %d containers on this host have left", l.endpoints)
		if l.endpoints == 1 {
			p.problems[n.id] = "removed on another host; it goes when its last container on this host has left"
		}
	case n.removed:
		p.steps = append(p.steps, step{do: stepRemove, shared: n.id, local: l.id})
	case !n.complete && !n.ours: // the host that made it is about to tell its name
	case !n.complete:
		p.steps = append(p.steps, step{do: stepComplete, shared: n.id, local: l.id, definition: defined.Definition})
	case n.definition.Name != defined.Name && p.active:
		p.problems[n.id] = fmt.Sprintf("it is called %s on this host: remove it here with `docker network rm %s`", defined.Name, defined.Name)
	}
}

// separate has one of the networks stay that the engine has of one name; with two nobody
// can use either by name. Those that other hosts made give way if nobody is on them here,
// the later ones first.
func (p *plan) separate(byID map[string]sharedNetwork, byLocal map[driver.NetworkID]localNetwork, have map[string]engine.Defined) {
	count := make(map[string]int, len(have))
	var guests []step
	for _, id := range slices.Sorted(maps.Keys(have)) {
		count[have[id].Name]++
		l, isLocal := byLocal[driver.NetworkID(id)]
		if n, ok := byID[l.shared]; isLocal && ok && n.complete && !n.removed && !n.ours && l.endpoints == 0 {
			guests = append(guests, step{do: stepGiveUp, shared: n.id, local: l.id, definition: have[id].Definition})
		}
	}
	slices.SortFunc(guests, func(a, b step) int { return compareAge(byID[b.shared], byID[a.shared]) })
	for _, s := range guests {
		if count[s.definition.Name] > 1 {
			count[s.definition.Name]--
			p.steps = append(p.steps, s)
		}
	}
}

// compareAge orders networks by when they were made; all hosts see the same order.
func compareAge(a, b sharedNetwork) int {
	if c := a.created.Compare(b.created); c != 0 {
		return c
	}
	return strings.Compare(a.id, b.id)
}

// givesWay reports whether a network is the same as an earlier one but for its addresses,
// which nobody has chosen, and in nobody's use.
func givesWay(later, earlier sharedNetwork) bool {
	return !later.removed && later.complete && later.endpoints == 0 && compareAge(earlier, later) < 0 &&
		later.definition.Labels[labelComposeProject] != "" &&
		maps.Equal(later.definition.Labels, earlier.definition.Labels) &&
		maps.Equal(later.definition.Options, earlier.definition.Options)
}

func nameTaken(name string, by engine.Defined) string {
	return fmt.Sprintf("the name %s is taken on this host by network %s (driver %s): rename or remove that one, and this one comes by itself",
		name, driver.NetworkID(by.ID).Short(), by.Driver)
}
