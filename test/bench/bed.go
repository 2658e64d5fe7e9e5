package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/test/lab"
)

// pluginName is what users install; -d ournet finds it by its own socket.
const pluginName = "ournet/ournet:latest"

// variant is a kind of network that commands are measured on.
type variant struct {
	name string
	// network is the name of the variant's network.
	network string
	// create are the arguments of `docker network create`; none if the engine
	// has the network by itself.
	create []string
}

// The variants. The first is what the others are compared with.
func variants() []variant {
	return []variant{
		{"bridge", "bench-bridge", []string{"-d", "bridge"}},
		{"ournet", "bench-ournet", []string{"-d", "ournet", "--ipam-driver", "ournet"}},
		{"ournet, engine's IPAM", "bench-mixed", []string{"-d", "ournet"}},
		{"none", "none", nil},
	}
}

// made returns the variants whose network is made and removed.
func made() []variant {
	all := variants()
	return all[:len(all)-1]
}

// bed is a host with an engine and the plugin, made for one engine's measurements.
type bed struct {
	lab    *lab.Lab
	host   *lab.Host
	api    *client.Client
	server client.ServerVersionResult
}

// newBed makes a host with the images and the plugin; the caller removes it.
func newBed(ctx context.Context, engine lab.Engine, plugin string) (*bed, error) {
	l, err := lab.Up(ctx, lab.Config{Engines: []lab.Engine{engine}})
	if err != nil {
		return nil, err
	}
	b := &bed{lab: l, host: l.Host(1)}
	if err := b.furnish(ctx, plugin); err != nil {
		return nil, errors.Join(err, b.remove(ctx))
	}
	return b, nil
}

func (b *bed) furnish(ctx context.Context, plugin string) error {
	if err := b.host.ImportImages(ctx); err != nil {
		return err
	}
	if err := b.host.InstallPlugin(ctx, plugin, pluginName); err != nil {
		return err
	}
	api, err := client.New(client.WithHost("unix://" + b.host.Socket()))
	if err != nil {
		return fmt.Errorf("connect to the engine: %w", err)
	}
	b.api = api
	if _, err := api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return fmt.Errorf("agree on an API version: %w", err)
	}
	if b.server, err = api.ServerVersion(ctx, client.ServerVersionOptions{}); err != nil {
		return fmt.Errorf("ask for the engine's version: %w", err)
	}
	return nil
}

func (b *bed) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var err error
	if b.api != nil {
		err = b.api.Close()
	}
	return errors.Join(err, b.lab.Down(ctx))
}

// docker runs the engine's command line client.
func (b *bed) docker(ctx context.Context, args ...string) error {
	_, err := b.host.Docker(ctx, args...)
	return err
}

// unchecked is an ournet network whose containers may send with any address: it shows
// what the check of that costs.
func unchecked() variant {
	return variant{"ournet, no check of sources", "bench-unchecked", []string{
		"-d", "ournet", "--ipam-driver", "ournet", "-o", driver.OptSpoofCheck + "=false",
	}}
}

// makeNetworks makes the network of each variant and returns what removes them.
func (b *bed) makeNetworks(ctx context.Context, all []variant) (remove func() error, err error) {
	var names []string
	remove = func() error {
		return b.docker(context.WithoutCancel(ctx), append([]string{"network", "rm"}, names...)...)
	}
	for _, v := range all {
		if err := b.docker(ctx, append(append([]string{"network", "create"}, v.create...), v.network)...); err != nil {
			return nil, err
		}
		names = append(names, v.network)
	}
	return remove, nil
}

// start runs a container that waits, and returns what removes it. args stand before
// the image.
func (b *bed) start(ctx context.Context, name string, args ...string) (remove func() error, err error) {
	args = append([]string{"run", "-d", "--name", name}, args...)
	if err := b.docker(ctx, append(args, lab.BusyboxImage, "sleep", "1d")...); err != nil {
		return nil, err
	}
	return func() error { return b.docker(context.WithoutCancel(ctx), "rm", "-f", name) }, nil
}

// address returns a container's IPv4 address on a network.
func (b *bed) address(ctx context.Context, name, network string) (string, error) {
	format := fmt.Sprintf("{{(index .NetworkSettings.Networks %q).IPAddress}}", network)
	out, err := b.host.Docker(ctx, "container", "inspect", "-f", format, name)
	return strings.TrimSpace(out), err
}
