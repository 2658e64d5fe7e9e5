package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/test/bench/page"
	"github.com/ournet/ournet/test/bench/stats"
	"github.com/ournet/ournet/test/lab"
)

// How a full host is made: every one of the containers is on every one of the
// networks, and one container has all of the published ports.
const (
	scaleNetworks = 20
	scalePorts    = 32
	// scaleJoins is how many containers are attached at once when the host is filled.
	scaleJoins = 2
)

// scale is what one more endpoint takes on a host that has many.
type scale struct {
	// Engine is the release and its firewall backend.
	Engine    string      `json:"engine"`
	Endpoints int         `json:"endpoints"`
	Networks  int         `json:"networks"`
	Steps     []scaleStep `json:"steps"`
}

// scaleStep is one command on the empty host and on the full one, in milliseconds.
type scaleStep struct {
	Variant string         `json:"variant"`
	Step    string         `json:"step"`
	Empty   []float64      `json:"empty_ms"`
	Full    []float64      `json:"full_ms"`
	Ratio   stats.Interval `json:"ratio"`
}

// measureScale measures each of the two drivers on an empty host, and on one that has
// endpoints of that driver on networks of its.
func measureScale(ctx context.Context, set settings, engine lab.Engine) (s scale, err error) {
	s = scale{Engine: string(engine), Endpoints: set.scale / scaleNetworks * scaleNetworks, Networks: scaleNetworks}
	page.Progress("engine %s: a host for %d endpoints", engine, s.Endpoints)
	b, err := newBed(ctx, engine, set.plugin)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, b.remove(ctx)) }()
	for i, v := range made()[:2] {
		names, err := b.makeScaleNetworks(ctx, v, fmt.Sprintf("10.%d", 180+i))
		if err != nil {
			return s, err
		}
		v.network = names[0]
		page.Progress("engine %s: %s on the empty host", engine, v.name)
		empty, err := b.oneMore(ctx, v, set.rounds)
		if err != nil {
			return s, err
		}
		page.Progress("engine %s: %s gets %d endpoints", engine, v.name, s.Endpoints)
		begin := time.Now()
		drop, err := b.fill(ctx, names, s.Endpoints/scaleNetworks)
		if err != nil {
			return s, err
		}
		page.Progress("engine %s: %s on the full host, which took %.0f s", engine, v.name, time.Since(begin).Seconds())
		full, err := b.oneMore(ctx, v, set.rounds)
		if err != nil {
			return s, err
		}
		if err := drop(); err != nil {
			return s, err
		}
		for _, step := range empty.Steps {
			x, y := empty.Values[step][v.name], full.Values[step][v.name]
			s.Steps = append(s.Steps, scaleStep{v.name, step, x, y, stats.Compare(y, x)})
		}
	}
	return s, nil
}

// makeScaleNetworks makes the networks, with subnets below the first two numbers of
// their addresses. They go with the host.
func (b *bed) makeScaleNetworks(ctx context.Context, v variant, base string) ([]string, error) {
	var names []string
	for i := range scaleNetworks {
		name := "scale-" + v.name + "-" + strconv.Itoa(i)
		subnet := fmt.Sprintf("%s.%d.0/24", base, i)
		args := append(append([]string{"network", "create"}, v.create...), "--subnet", subnet, name)
		if err := b.docker(ctx, args...); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// fill starts that many containers on the first network, one of them with published
// ports, and connects each to all of the others.
func (b *bed) fill(ctx context.Context, names []string, containers int) (drop func() error, err error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(scaleJoins)
	var made []string
	for i := range containers {
		name := "fill-" + strconv.Itoa(i)
		made = append(made, name)
		g.Go(func() error {
			ports := 0
			if i == 0 {
				ports = scalePorts
			}
			if _, err := b.startWithPorts(gctx, name, names[0], 20000, ports); err != nil {
				return err
			}
			for _, n := range names[1:] {
				if _, err := b.api.NetworkConnect(gctx, n, client.NetworkConnectOptions{Container: name}); err != nil {
					return fmt.Errorf("connect %s to %s: %w", name, n, err)
				}
			}
			return nil
		})
	}
	return func() error {
		return b.docker(context.WithoutCancel(ctx), append([]string{"rm", "-f"}, made...)...)
	}, g.Wait()
}

// oneMore measures the start of one more container, with and without published ports.
// The two take turns.
func (b *bed) oneMore(ctx context.Context, v variant, rounds int) (*stats.Samples, error) {
	found := stats.NewSamples()
	dice := rand.New(rand.NewPCG(7, 8))
	for round := range warmUps + rounds {
		for _, i := range dice.Perm(2) {
			step, ports := "attach one more", 0
			if i == 1 {
				step, ports = fmt.Sprintf("attach one more and publish %d ports", scalePorts), scalePorts
			}
			took, err := b.startWithPorts(ctx, "one-more", v.network, 30000, ports)
			if err != nil {
				return nil, err
			}
			if _, err := b.api.ContainerRemove(ctx, "one-more", client.ContainerRemoveOptions{Force: true}); err != nil {
				return nil, fmt.Errorf("remove the container: %w", err)
			}
			if round >= warmUps {
				found.Add(step, v.name, took)
			}
		}
	}
	return found, nil
}

// startWithPorts starts a container with that many published ports from first on, and
// returns how long its start took.
func (b *bed) startWithPorts(ctx context.Context, name, on string, first, ports int) (time.Duration, error) {
	bindings := network.PortMap{}
	exposed := network.PortSet{}
	for i := range ports {
		port, err := network.ParsePort(strconv.Itoa(80+i) + "/tcp")
		if err != nil {
			return 0, fmt.Errorf("make a port: %w", err)
		}
		exposed[port] = struct{}{}
		bindings[port] = []network.PortBinding{{HostPort: strconv.Itoa(first + i)}}
	}
	_, err := b.api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name:       name,
		Config:     &container.Config{Image: lab.BusyboxImage, Cmd: []string{"sleep", "1d"}, ExposedPorts: exposed},
		HostConfig: &container.HostConfig{NetworkMode: container.NetworkMode(on), PortBindings: bindings},
	})
	if err != nil {
		return 0, fmt.Errorf("create %s: %w", name, err)
	}
	begin := time.Now()
	if _, err := b.api.ContainerStart(ctx, name, client.ContainerStartOptions{}); err != nil {
		return 0, fmt.Errorf("start %s: %w", name, err)
	}
	return time.Since(begin), nil
}
