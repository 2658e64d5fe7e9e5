package main

import (
	"context"
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

// places are the hosts that starts are measured on. A worker asks the manager for what
// Swarm's network gives a container; ournet knows no such difference.
func places() map[int]string {
	return map[int]string{1: "on Swarm's manager", 2: "on a worker of Swarm's"}
}

// measureAttach starts and removes containers on each network of two hosts in turn.
func (b *bed) measureAttach(ctx context.Context, rounds int) (*stats.Samples, error) {
	found := stats.NewSamples()
	if rounds == 0 {
		return found, nil
	}
	dice := rand.New(rand.NewPCG(3, 4))
	on := overlays()
	for round := range warmUps + rounds {
		for number := 1; number <= len(places()); number++ {
			for _, how := range []func(context.Context, int, variant, *watch) error{b.byCommand, b.byAPI} {
				for _, i := range dice.Perm(len(on)) {
					w := watch{}
					if err := how(ctx, number, on[i], &w); err != nil {
						return nil, fmt.Errorf("%s on host %d: %w", on[i].name, number, err)
					}
					if round < warmUps {
						continue
					}
					for _, s := range w.steps {
						found.Add(s.name+" "+places()[number], on[i].name, s.took)
					}
				}
			}
		}
	}
	return found, nil
}

// watch is a list of steps that are timed as they are taken.
type watch struct{ steps []step }

type step struct {
	name string
	took time.Duration
}

func (w *watch) time(name string, do func() error) error {
	begin := time.Now()
	err := do()
	w.steps = append(w.steps, step{name, time.Since(begin)})
	return err
}

func (b *bed) byCommand(ctx context.Context, number int, v variant, w *watch) error {
	h := b.lab.Host(number)
	err := w.time("`docker run -d`", func() error {
		_, err := h.Docker(ctx, "run", "-d", "--name", "bench", "--network", v.network, lab.BusyboxImage, "sleep", "1d")
		return err
	})
	if err != nil {
		return err
	}
	return w.time("`docker rm -f`", func() error {
		_, err := h.Docker(ctx, "rm", "-f", "bench")
		return err
	})
}

func (b *bed) byAPI(ctx context.Context, number int, v variant, w *watch) error {
	api, id := b.apis[number-1], ""
	err := w.time("create by API", func() error {
		made, err := api.ContainerCreate(ctx, client.ContainerCreateOptions{
			Config:     &container.Config{Image: lab.BusyboxImage, Cmd: []string{"sleep", "1d"}},
			HostConfig: &container.HostConfig{NetworkMode: container.NetworkMode(v.network)},
		})
		id = made.ID
		return err
	})
	if err != nil {
		return err
	}
	err = w.time("start by API", func() error {
		_, err := api.ContainerStart(ctx, id, client.ContainerStartOptions{})
		return err
	})
	if err != nil {
		return err
	}
	w.steps = append(w.steps, step{"create and start by API", w.steps[0].took + w.steps[1].took})
	return w.time("remove by API", func() error {
		_, err := api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true})
		return err
	})
}
