package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ournet/ournet/internal/admin"
	"github.com/ournet/ournet/internal/engine"
)

// engineTimeout is how long the engine is waited for before ids have to do.
const engineTimeout = 5 * time.Second

// errStranger says that the engine that was asked seems to be another than the plugin's.
var errStranger = errors.New("the engine has none of these networks: is it the one that runs the plugin? See DOCKER_HOST")

// directory has the names of what the plugin knows by ids. It is empty if the engine
// did not answer.
type directory struct {
	networks   map[string]engine.Network // by id
	containers []engine.Container
}

// lookUp asks the engine for the names of what is in have, and for all of its
// containers if they are needed as well.
func lookUp(ctx context.Context, from namer, have admin.Networks, containers bool) (d directory, err error) {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	if d.networks, err = from.Networks(ctx); err != nil {
		return directory{}, err
	}
	known := len(have.Networks) == 0
	for _, n := range have.Networks {
		_, ok := d.networks[n.ID]
		known = known || ok
	}
	if !known {
		return directory{}, errStranger
	}
	if containers {
		if d.containers, err = from.Containers(ctx); err != nil {
			return directory{}, err
		}
	}
	return d, nil
}

// container returns what the engine knows of an endpoint's container.
func (d directory) container(network, endpoint string) engine.Container {
	n := d.networks[network]
	return engine.Container{ID: n.EndpointContainers[endpoint], Name: n.EndpointNames[endpoint]}
}

// thing is what an argument can mean.
type thing struct{ kind, id, name string }

const (
	kindNetwork   = "network"
	kindContainer = "container"
)

func (t thing) String() string {
	if t.name == "" {
		return t.kind + " " + short(t.id)
	}
	return fmt.Sprintf("%s %s (%s)", t.kind, t.name, short(t.id))
}

// things returns all that an argument can mean: the plugin's networks, and the
// engine's containers. Where a container is not known its endpoint stands for it.
func (d directory) things(have admin.Networks) []thing {
	var all []thing
	for _, n := range have.Networks {
		all = append(all, thing{kindNetwork, n.ID, d.networks[n.ID].Name})
		for _, ep := range n.Endpoints {
			if d.container(n.ID, ep.ID) == (engine.Container{}) {
				all = append(all, thing{kindContainer, ep.ID, ""})
			}
		}
	}
	for _, c := range d.containers {
		all = append(all, thing{kindContainer, c.ID, c.Name})
	}
	return all
}

// find returns the one thing that has the name or id, or else whose id begins with it;
// what says what there is none of.
func find(arg, what string, all []thing) (thing, error) {
	matches := func(is func(thing) bool) (found []thing) {
		for _, t := range all {
			if is(t) {
				found = append(found, t)
			}
		}
		return found
	}
	found := matches(func(t thing) bool { return arg != "" && (t.id == arg || t.name == arg) })
	if len(found) == 0 {
		found = matches(func(t thing) bool { return arg != "" && strings.HasPrefix(t.id, arg) })
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return thing{}, fmt.Errorf("there is no %s with the name or id %q", what, arg)
	}
	names := make([]string, 0, len(found))
	for _, t := range found {
		names = append(names, t.String())
	}
	return thing{}, fmt.Errorf("%q is ambiguous: %s; give the id of one", arg, strings.Join(names, ", "))
}

// short returns the first 12 digits, as the client shows ids.
func short(id string) string { return id[:min(len(id), 12)] }
