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
	dir := ""
	if *plugin != "" {
		var err error
		if dir, err = filepath.Abs(*plugin); err != nil {
			return fmt.Errorf("find the plugin: %w", err)
		}
	}
	l, err := lab.Up(ctx, cfg)
	if err != nil {
		return err
	}
	if err := furnish(ctx, l, dir, *name, flags.Args()); err != nil {
		return errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	return describe(l, out)
}

func furnish(ctx context.Context, l *lab.Lab, dir, name string, settings []string) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, h := range l.Hosts {
		g.Go(func() error {
			if dir != "" {
				if err := h.InstallPlugin(ctx, dir, name, settings...); err != nil {
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
	_, err := io.WriteString(out, b.String())
	return err
}
