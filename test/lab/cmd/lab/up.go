package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/test/lab"
)

// up makes a lab that stays, with the images and the plugin on each host.
func up(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	hosts := flags.Int("hosts", 3, "number of hosts")
	engines := flags.String("engine", string(lab.Engine29), "`engine` of the hosts; several, separated by commas, take turns")
	plugin := flags.String("plugin", "", "`folder` of the managed plugin to install; none if empty")
	program := flags.String("command", "", "`file` of the operator's command to install; none if empty")
	consul := flags.Bool("consul", false, "start a Consul server and make the hosts a cluster")
	name := flags.String("name", "ournet/ournet:latest", "`reference` to install the plugin under")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg := lab.Config{Keep: true, DockerdArgs: []string{"--init"}, Log: func(format string, args ...any) {
		fmt.Fprintf(out, format+"\n", args...) //nolint:errcheck // progress that nobody may read
	}}
	choice := strings.Split(*engines, ",")
	for i := range *hosts {
		cfg.Engines = append(cfg.Engines, lab.Engine(choice[i%len(choice)]))
	}
	goods := furniture{name: *name, settings: flags.Args(), consul: *consul}
	for from, to := range map[string]*string{*plugin: &goods.plugin, *program: &goods.program} {
		if from == "" {
			continue
		}
		var err error
		if *to, err = filepath.Abs(from); err != nil {
			return fmt.Errorf("find %s: %w", from, err)
		}
	}
	l, err := lab.Up(ctx, cfg)
	if err != nil {
		return err
	}
	if err := goods.bring(ctx, l); err != nil {
		return errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	return describe(l, out)
}

// furniture is what each host gets.
type furniture struct {
	plugin   string   // a folder; "" for none
	name     string   // of the plugin
	settings []string // of the plugin
	program  string   // the operator's command; "" for none
	consul   bool     // whether the plugin gets a cluster store
}

func (f furniture) bring(ctx context.Context, l *lab.Lab) error {
	if f.consul {
		address, err := l.StartConsul(ctx)
		if err != nil {
			return err
		}
		f.settings = append([]string{"CLUSTER_STORE=consul://" + address + "/ournet"}, f.settings...)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, h := range l.Hosts {
		g.Go(func() error {
			if f.plugin != "" {
				if err := h.InstallPlugin(ctx, f.plugin, f.name, f.settings...); err != nil {
					return fmt.Errorf("%s: %w", h.Name, err)
				}
			}
			if f.program != "" {
				if err := h.InstallCommand(ctx, f.program); err != nil {
					return fmt.Errorf("%s: %w", h.Name, err)
				}
			}
			return h.ImportImages(ctx)
		})
	}
	return g.Wait()
}

// describe prints how to use the lab, a line per host.
func describe(l *lab.Lab, out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, files in %s\n", l.Name, l.Dir)
	for _, h := range l.Hosts {
		fmt.Fprintf(&b, "  %-8s %-10s engine %-6s export DOCKER_HOST=unix://%s\n", h.Name, h.Address(), h.Engine, h.Socket())
	}
	fmt.Fprintf(&b, "  %-8s %-10s the rest of the world\n", l.Outside.Name, l.Outside.Address())
	fmt.Fprintf(&b, "client: %s   images: %s, %s\n", l.Host(1).Client(), lab.BusyboxImage, lab.ServerImage)
	fmt.Fprintf(&b, "on a host itself: go run ./test/lab/cmd/lab exec -lab %s 1 docker ournet ports\n", l.Name)
	_, err := io.WriteString(out, b.String())
	return err
}
