package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/test/bench/arrival"
	"github.com/ournet/ournet/test/lab"
)

const (
	// hosts is how many hosts there are. The first is Swarm's manager.
	hosts = 3
	// pluginName is what users install; -d ournet finds it by its own socket.
	pluginName = "ournet/ournet:latest"
	// swarmPort and handPort are the UDP ports of the others' VXLAN packets: not
	// ournet's 4789, so that no rule of ournet's is in their way.
	swarmPort, handPort = "4790", "4791"
)

// variant is a network that containers are measured on.
type variant struct {
	name string
	// network is the name of the engine's network, and of what is made by hand.
	network string
	// create are the arguments of `docker network create`; none if it is made by hand.
	create []string
	// address is that of a container, but for its last number.
	address string
}

func ournet() variant {
	const subnet = "10.201.0."
	return variant{"ournet", "bench-ournet", []string{
		"-d", "ournet", "-o", "type=overlay", "--ipam-driver", "ournet", "--subnet", subnet + "0/24",
	}, subnet}
}

func swarm() variant {
	const subnet = "10.202.0."
	return variant{"Swarm", "bench-swarm", []string{"-d", "overlay", "--attachable", "--subnet", subnet + "0/24"}, subnet}
}

// overlays are the engine's networks, the one that is compared with first.
func overlays() []variant { return []variant{swarm(), ournet()} }

// resident is a container that is on a network of a host all the time: what the first
// container of a host needs more than others is not measured.
func (v variant) resident() string { return v.network + "-resident" }

// bed is a cluster and a swarm on the same hosts.
type bed struct {
	lab  *lab.Lab
	apis []*client.Client // one per host
}

// newBed makes all that is measured; the caller removes it.
func newBed(ctx context.Context, set settings) (*bed, error) {
	cfg := lab.Config{DockerdArgs: []string{"--init"}}
	for range hosts {
		cfg.Engines = append(cfg.Engines, set.engine)
	}
	l, err := lab.Up(ctx, cfg)
	if err != nil {
		return nil, err
	}
	b := &bed{lab: l}
	if err := b.furnish(ctx, set.plugin); err != nil {
		return nil, errors.Join(err, b.remove(ctx))
	}
	return b, nil
}

func (b *bed) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var err error
	for _, api := range b.apis {
		err = errors.Join(err, api.Close())
	}
	return errors.Join(err, b.lab.Down(ctx))
}

func (b *bed) furnish(ctx context.Context, plugin string) error {
	address, err := b.lab.StartConsul(ctx)
	if err != nil {
		return err
	}
	if err := arrival.ServeNames(ctx, b.lab); err != nil {
		return err
	}
	for _, h := range b.lab.Hosts {
		api, err := client.New(client.WithHost("unix://" + h.Socket()))
		if err != nil {
			return fmt.Errorf("connect to the engine of %s: %w", h.Name, err)
		}
		b.apis = append(b.apis, api)
	}
	g, gctx := errgroup.WithContext(ctx)
	for i, h := range b.lab.Hosts {
		g.Go(func() error {
			if err := h.ImportImages(gctx); err != nil {
				return err
			}
			if _, err := b.apis[i].Ping(gctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
				return fmt.Errorf("agree on an API version: %w", err)
			}
			return h.InstallPlugin(gctx, plugin, pluginName, "CLUSTER_STORE=consul://"+address+"/ournet")
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := b.formSwarm(ctx); err != nil {
		return err
	}
	return b.makeNetworks(ctx)
}

// formSwarm makes the first host a manager and the others its workers.
func (b *bed) formSwarm(ctx context.Context) error {
	manager := b.lab.Host(1)
	_, err := manager.Docker(ctx, "swarm", "init", "--advertise-addr", manager.Address().String(), "--data-path-port", swarmPort)
	if err != nil {
		return err
	}
	token, err := manager.Docker(ctx, "swarm", "join-token", "--quiet", "worker")
	if err != nil {
		return err
	}
	for _, h := range b.lab.Hosts[1:] {
		_, err := h.Docker(ctx, "swarm", "join", "--token", strings.TrimSpace(token),
			"--advertise-addr", h.Address().String(), manager.Address().String()+":2377")
		if err != nil {
			return err
		}
	}
	return nil
}

// makeNetworks makes each network on the first host and starts its residents on all.
func (b *bed) makeNetworks(ctx context.Context) error {
	for _, v := range overlays() {
		if _, err := b.lab.Host(1).Docker(ctx, append(append([]string{"network", "create"}, v.create...), v.network)...); err != nil {
			return err
		}
		for _, h := range b.lab.Hosts {
			// Ournet's network comes to the other hosts by itself, Swarm's when it is used.
			err := lab.Poll(ctx, v.network+" on "+h.Name, func() error {
				_, err := h.Docker(ctx, "run", "-d", "--name", v.resident(), "--network", v.network, lab.BusyboxImage, "sleep", "1d")
				if err != nil {
					_, _ = h.Docker(ctx, "rm", "-f", v.resident()) // it is there if only its start failed
				}
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// inside returns a command that runs in the network namespace of a host's container.
func inside(ctx context.Context, h *lab.Host, container string, argv ...string) ([]string, error) {
	pid, err := h.Docker(ctx, "container", "inspect", "-f", "{{.State.Pid}}", container)
	if err != nil {
		return nil, err
	}
	return append([]string{"nsenter", "--target", strings.TrimSpace(pid), "--net", "--"}, argv...), nil
}
