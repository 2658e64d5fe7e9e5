package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ournet/ournet/test/bench/arrival"
	"github.com/ournet/ournet/test/lab"
)

const (
	// pluginName is what users install; -d ournet finds it by its own socket.
	pluginName = "ournet/ournet:latest"
	// names is how many there are.
	names = 1000
)

func nameOf(i int) string { return "host" + strconv.Itoa(i) }

// network is one that containers are resolved on.
type network struct {
	name   string
	driver []string // arguments of `docker network create`
	// subnet is without the last number.
	subnet string
}

func networks() []network {
	return []network{
		{"bench-bridge", []string{"-d", "bridge"}, "10.203.0."},
		{"bench-ournet", []string{"-d", "ournet", "--ipam-driver", "ournet"}, "10.204.0."},
	}
}

// resident is the container that has all names of the network, and asks.
func (n network) resident() string { return n.name + "-resident" }

// bed is a host whose containers ask.
type bed struct {
	lab     *lab.Lab
	host    *lab.Host
	version string
	servers []server
}

// newBed makes all that is measured; the caller removes it.
func newBed(ctx context.Context, set settings) (*bed, error) {
	l, err := lab.Up(ctx, lab.Config{Engines: []lab.Engine{lab.Engine29}, DockerdArgs: []string{"--init"}})
	if err != nil {
		return nil, err
	}
	b := &bed{lab: l, host: l.Host(1)}
	if err := b.furnish(ctx, set); err != nil {
		return nil, errors.Join(err, b.remove(ctx))
	}
	return b, nil
}

func (b *bed) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var err error
	for _, s := range b.servers {
		if s.stop != nil {
			err = errors.Join(err, s.stop())
		}
	}
	return errors.Join(err, b.lab.Down(ctx))
}

func (b *bed) furnish(ctx context.Context, set settings) (err error) {
	if err := arrival.ServeNames(ctx, b.lab); err != nil {
		return err
	}
	if err := b.host.ImportImages(ctx); err != nil {
		return err
	}
	if b.version, err = b.host.Docker(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
		return err
	}
	if err := b.host.InstallPlugin(ctx, set.plugin, pluginName); err != nil {
		return err
	}
	for _, n := range networks() {
		argv := append([]string{"network", "create", "--subnet", n.subnet + "0/24"}, n.driver...)
		if _, err := b.host.Docker(ctx, append(argv, n.name)...); err != nil {
			return err
		}
		argv = []string{"--network", n.name}
		for i := range names {
			argv = append(argv, "--network-alias", nameOf(i))
		}
		if err := b.start(ctx, n.resident(), argv...); err != nil {
			return err
		}
	}
	return b.serve(ctx, set)
}

// start runs a container that waits. args stand before the image.
func (b *bed) start(ctx context.Context, name string, args ...string) error {
	argv := append([]string{"run", "-d", "--name", name}, args...)
	_, err := b.host.Docker(ctx, append(argv, lab.BusyboxImage, "sleep", "1d")...)
	return err
}

// namespace returns the file of a container's network namespace, as this process sees it.
func (b *bed) namespace(ctx context.Context, container string) (string, error) {
	first, err := b.host.FirstPID()
	if err != nil {
		return "", err
	}
	pid, err := b.host.Docker(ctx, "container", "inspect", "-f", "{{.State.Pid}}", container)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/%d/root/proc/%s/ns/net", first, strings.TrimSpace(pid)), nil
}
