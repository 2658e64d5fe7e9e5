package plugin

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/internal/engine"
)

// shared returns a complete network of the cluster that was made at a minute.
func shared(id, name string, minute int, change ...func(*sharedNetwork)) sharedNetwork {
	n := sharedNetwork{
		id: id, complete: true, created: time.Unix(0, 0).Add(time.Duration(minute) * time.Minute),
		definition: engine.Definition{Name: name, Driver: "ournet", Options: map[string]string{"type": "overlay"}},
	}
	for _, c := range change {
		c(&n)
	}
	return n
}

func removed(n *sharedNetwork)    { n.removed = true }
func incomplete(n *sharedNetwork) { n.complete = false; n.definition = engine.Definition{} }
func ours(n *sharedNetwork)       { n.ours = true }
func inUse(n *sharedNetwork)      { n.endpoints = 1 }

func composed(n *sharedNetwork) {
	n.definition.Labels = map[string]string{labelComposeProject: "shop", "com.docker.compose.network": "front"}
}

// named is what the engine has: networks of our driver by id, "id:name".
func named(list ...string) map[string]engine.Defined {
	have := make(map[string]engine.Defined)
	for _, s := range list {
		id, name, _ := strings.Cut(s, ":")
		have[id] = engine.Defined{ID: id, Definition: engine.Definition{Name: name, Driver: "ournet"}}
	}
	return have
}

func TestPlanNetworks(t *testing.T) {
	t.Parallel()
	const taken = "the name lab is taken on this host by network other (driver ournet): rename or remove that one, and this one comes by itself"
	for _, tc := range []struct {
		name     string
		shared   []sharedNetwork
		local    []localNetwork
		have     map[string]engine.Defined
		want     string // the steps: verb, cluster's id, engine's id or name
		problems map[string]string
		passive  bool
	}{
		{name: "nothing anywhere"},
		{name: "only networks that are not the cluster's", have: named("x:bridge")},
		{name: "made on another host", shared: []sharedNetwork{shared("c1", "lab", 1)}, have: named("x:bridge"), want: "create c1 lab"},
		{name: "not yet complete on another host", shared: []sharedNetwork{shared("c1", "", 1, incomplete)}},
		{name: "here already", shared: []sharedNetwork{shared("c1", "lab", 1)}, local: []localNetwork{{"l1", "c1", 0}}, have: named("l1:lab")},
		{
			name: "made here and on another host at once, which completes it", shared: []sharedNetwork{shared("c1", "", 1, incomplete)},
			local: []localNetwork{{"l1", "c1", 0}}, have: named("l1:lab"),
		},
		{
			name: "made here, and the engine tells its name", shared: []sharedNetwork{shared("c1", "", 1, incomplete, ours)},
			local: []localNetwork{{"l1", "c1", 0}}, have: named("l1:lab"), want: "complete c1 lab",
		},
		{name: "being made here", shared: []sharedNetwork{shared("c1", "", 1, incomplete, ours)}, local: []localNetwork{{"l1", "c1", 0}}},
		{name: "being made here because of another host", shared: []sharedNetwork{shared("c1", "lab", 1)}, local: []localNetwork{{"l1", "c1", 0}}},
		{name: "removed before it came here", shared: []sharedNetwork{shared("c1", "lab", 1, removed)}},
		{
			name: "removed on another host", shared: []sharedNetwork{shared("c1", "lab", 1, removed)},
			local: []localNetwork{{"l1", "c1", 0}}, have: named("l1:lab"), want: "remove c1 l1",
		},
		{
			name: "removed on another host while containers are on it", shared: []sharedNetwork{shared("c1", "lab", 1, removed)},
			local: []localNetwork{{"l1", "c1", 2}}, have: named("l1:lab"),
			problems: map[string]string{"c1": "removed on another host; it goes when its last 2 containers on this host have left"},
		},
		{name: "removed before it was complete", shared: []sharedNetwork{shared("c1", "", 1, incomplete, removed)}, local: []localNetwork{{"l1", "c1", 0}}, have: named("l1:lab"), want: "remove c1 l1"},
		{
			name: "name is taken by a network of this host", shared: []sharedNetwork{shared("c1", "lab", 1)}, have: named("other:lab"),
			problems: map[string]string{"c1": taken},
		},
		{
			name: "made on two hosts by two people", shared: []sharedNetwork{shared("c1", "lab", 1), shared("c2", "lab", 2)},
			local: []localNetwork{{"other", "c2", 0}}, have: named("other:lab"), problems: map[string]string{"c1": taken},
		},
		{
			name:   "made on two hosts from one Compose file, here later",
			shared: []sharedNetwork{shared("c2", "lab", 2, composed), shared("c1", "lab", 1, composed)},
			local:  []localNetwork{{"other", "c2", 0}}, have: named("other:lab"), want: "remove c2 other",
		},
		{
			name: "made on two hosts from one Compose file, here first", shared: []sharedNetwork{shared("c1", "lab", 1, composed), shared("c2", "lab", 2, composed)},
			local: []localNetwork{{"other", "c1", 0}}, have: named("other:lab"),
		},
		{
			name:   "made on two hosts from one Compose file, here later, but in use",
			shared: []sharedNetwork{shared("c1", "lab", 1, composed), shared("c2", "lab", 2, composed, inUse)},
			local:  []localNetwork{{"other", "c2", 0}}, have: named("other:lab"), problems: map[string]string{"c1": taken},
		},
		{
			name: "under another name here", shared: []sharedNetwork{shared("c1", "lab", 1)}, local: []localNetwork{{"l1", "c1", 0}}, have: named("l1:mine"),
			problems: map[string]string{"c1": "it is called mine on this host: remove it here with `docker network rm mine`"},
		},
		{
			name: "an old engine has the name twice, once of its own", shared: []sharedNetwork{shared("c1", "lab", 1)},
			local: []localNetwork{{"l1", "c1", 0}}, have: named("l1:lab", "own:lab"), want: "give up c1 l1",
		},
		{
			name: "an old engine has the name twice, and a container is on ours", shared: []sharedNetwork{shared("c1", "lab", 1)},
			local: []localNetwork{{"l1", "c1", 1}}, have: named("l1:lab", "own:lab"),
		},
		{
			name: "an old engine has the name twice, made here and on another host", shared: []sharedNetwork{shared("c1", "lab", 1), shared("c2", "lab", 2, ours)},
			local: []localNetwork{{"l1", "c1", 0}, {"l2", "c2", 0}}, have: named("l1:lab", "l2:lab"), want: "give up c1 l1",
		},
		{
			name: "an old engine has the name twice, made on two other hosts", shared: []sharedNetwork{shared("c1", "lab", 1), shared("c2", "lab", 2)},
			local: []localNetwork{{"l1", "c1", 0}, {"l2", "c2", 0}}, have: named("l1:lab", "l2:lab"), want: "give up c2 l2",
		},
		{
			name: "an old engine has the name twice, and the other host is about to tell its name", shared: []sharedNetwork{shared("c1", "", 1, incomplete)},
			local: []localNetwork{{"l1", "c1", 0}}, have: named("l1:lab", "own:lab"),
		},
		{name: "on record here, but the cluster does not know it", local: []localNetwork{{"l1", "c1", 0}}, have: named("l1:lab")},
		{name: "made on another host, PROPAGATE is off", passive: true, shared: []sharedNetwork{shared("c1", "lab", 1)}, have: named("own:lab")},
		{
			name: "made here, PROPAGATE is off", passive: true, shared: []sharedNetwork{shared("c1", "", 1, incomplete, ours)},
			local: []localNetwork{{"l1", "c1", 0}}, have: named("l1:lab"), want: "complete c1 lab",
		},
		{
			name: "under another name here, PROPAGATE is off", passive: true, shared: []sharedNetwork{shared("c1", "lab", 1)},
			local: []localNetwork{{"l1", "c1", 0}}, have: named("l1:mine"),
		},
		{
			name: "removed on another host, PROPAGATE is off", passive: true, shared: []sharedNetwork{shared("c1", "lab", 1, removed)},
			local: []localNetwork{{"l1", "c1", 0}}, have: named("l1:mine"),
			problems: map[string]string{"c1": "removed on another host; PROPAGATE=false keeps it on this one: remove it here with `docker network rm mine`"},
		},
		{
			name: "several, the earliest first", shared: []sharedNetwork{shared("c2", "b", 2), shared("c1", "a", 1), shared("c3", "c", 3, removed)},
			local: []localNetwork{{"l3", "c3", 0}}, have: named("l3:c"), want: "remove c3 l3, create c1 a, create c2 b",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := planNetworks(tc.shared, tc.local, tc.have, !tc.passive)
			var steps []string
			for _, s := range got.steps {
				switch s.do {
				case stepComplete:
					steps = append(steps, "complete "+s.shared+" "+s.definition.Name)
				case stepRemove:
					steps = append(steps, "remove "+s.shared+" "+string(s.local))
				case stepGiveUp:
					steps = append(steps, "give up "+s.shared+" "+string(s.local))
				case stepCreate:
					steps = append(steps, "create "+s.shared+" "+s.definition.Name)
				}
			}
			if s := strings.Join(steps, ", "); s != tc.want {
				t.Errorf("steps = %q, want %q", s, tc.want)
			}
			if tc.problems == nil {
				tc.problems = map[string]string{}
			}
			if diff := cmp.Diff(tc.problems, got.problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
