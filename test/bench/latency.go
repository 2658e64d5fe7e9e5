package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/ournet/ournet/test/bench/stats"
	"github.com/ournet/ournet/test/lab"
)

// warmUps are rounds that do not count: the first of everything is slower.
const warmUps = 2

// step is a command and how long it took.
type step struct {
	name string
	took time.Duration
}

// action is a few commands, one after the other, that leave the host as it was.
type action struct {
	// floor says that it can be measured without any network, too.
	floor bool
	do    func(ctx context.Context, b *bed, v variant) ([]step, error)
}

func actions() []action {
	return []action{
		{true, runDetached},
		{true, runDetachedByAPI},
		{true, runToItsEnd},
		{false, runPublished},
		{false, createNetwork},
		{false, connect},
	}
}

// watch is a list of steps that are timed as they are taken.
type watch struct {
	steps []step
	err   error
}

// time takes a step, unless one before failed.
func (w *watch) time(name string, do func() error) {
	if w.err != nil {
		return
	}
	begin := time.Now()
	w.err = do()
	w.steps = append(w.steps, step{name, time.Since(begin)})
}

func runDetached(ctx context.Context, b *bed, v variant) ([]step, error) {
	var w watch
	w.time("`docker run -d`", func() error {
		return b.docker(ctx, "run", "-d", "--name", "bench", "--network", v.network, lab.BusyboxImage, "sleep", "1d")
	})
	w.time("`docker rm -f`", func() error { return b.docker(ctx, "rm", "-f", "bench") })
	return w.steps, w.err
}

func runDetachedByAPI(ctx context.Context, b *bed, v variant) ([]step, error) {
	var (
		w  watch
		id string
	)
	w.time("create by API", func() error {
		made, err := b.api.ContainerCreate(ctx, client.ContainerCreateOptions{
			Config:     &container.Config{Image: lab.BusyboxImage, Cmd: []string{"sleep", "1d"}},
			HostConfig: &container.HostConfig{NetworkMode: container.NetworkMode(v.network)},
		})
		id = made.ID
		return err
	})
	w.time("start by API", func() error {
		_, err := b.api.ContainerStart(ctx, id, client.ContainerStartOptions{})
		return err
	})
	if w.err == nil {
		w.steps = append(w.steps, step{"run -d by API (create, start)", w.steps[0].took + w.steps[1].took})
	}
	w.time("rm -f by API", func() error {
		_, err := b.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true})
		return err
	})
	return w.steps, w.err
}

func runToItsEnd(ctx context.Context, b *bed, v variant) ([]step, error) {
	var w watch
	w.time("`docker run --rm … true`", func() error {
		return b.docker(ctx, "run", "--rm", "--network", v.network, lab.BusyboxImage, "true")
	})
	return w.steps, w.err
}

func runPublished(ctx context.Context, b *bed, v variant) ([]step, error) {
	var w watch
	w.time("`docker run -d -p 8080:80`", func() error {
		return b.docker(ctx, "run", "-d", "--name", "bench", "--network", v.network, "-p", "8080:80", lab.BusyboxImage, "sleep", "1d")
	})
	w.time("`docker rm -f` of that", func() error { return b.docker(ctx, "rm", "-f", "bench") })
	return w.steps, w.err
}

func createNetwork(ctx context.Context, b *bed, v variant) ([]step, error) {
	var w watch
	w.time("`docker network create`", func() error {
		return b.docker(ctx, append(append([]string{"network", "create"}, v.create...), "bench")...)
	})
	w.time("`docker network rm`", func() error { return b.docker(ctx, "network", "rm", "bench") })
	return w.steps, w.err
}

// guest is the container that is connected and disconnected.
const guest = "bench-guest"

func connect(ctx context.Context, b *bed, v variant) ([]step, error) {
	var w watch
	w.time("`docker network connect`", func() error { return b.docker(ctx, "network", "connect", v.network, guest) })
	w.time("`docker network disconnect`", func() error { return b.docker(ctx, "network", "disconnect", v.network, guest) })
	return w.steps, w.err
}

// measureLatency takes all actions on all variants, rounds times.
func measureLatency(ctx context.Context, b *bed, what []action, on []variant, rounds int) (found *stats.Samples, err error) {
	remove, err := b.makeNetworks(ctx, made())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	dismiss, err := b.start(ctx, guest)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(dismiss(), err) }()

	dice := rand.New(rand.NewPCG(1, 2))
	found = stats.NewSamples()
	for round := range warmUps + rounds {
		for _, a := range what {
			if err := takeTurns(ctx, b, a, on, dice, func(v variant, s step) {
				if round >= warmUps {
					found.Add(s.name, v.name, s.took)
				}
			}); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// takeTurns takes one action on each of the variants, in a random order.
func takeTurns(ctx context.Context, b *bed, a action, on []variant, dice *rand.Rand, note func(variant, step)) error {
	for _, i := range dice.Perm(len(on)) {
		v := on[i]
		if v.create == nil && !a.floor {
			continue
		}
		steps, err := a.do(ctx, b, v)
		if err != nil {
			return fmt.Errorf("network %s: %w", v.name, err)
		}
		for _, s := range steps {
			note(v, s)
		}
	}
	return nil
}
