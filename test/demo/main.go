// Command demo shows ournet at work on a private host: a managed plugin in an
// engine, two containers on an ournet network that ping each other, the way out
// through NAT, and a published port. It prints each command as a user types it and
// what it answers, and fails if any answer is not as it should be.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/ournet/ournet/test/lab"
)

// pluginName is what a user would install from a registry.
const pluginName = "ournet/ournet:latest"

func main() {
	engine := flag.String("engine", string(lab.Engine2010), "the `engine`: 20.10 or 29")
	plugin := flag.String("plugin", "", "`folder` of the built plugin; build/plugin-ARCH if empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := demo(ctx, lab.Engine(*engine), *plugin)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nThe demo failed: %v\n", err)
		os.Exit(1)
	}
}

// demo makes the host, runs the scenes, and removes all.
func demo(ctx context.Context, engine lab.Engine, plugin string) (err error) {
	begin := time.Now()
	if plugin == "" {
		build, err := lab.BuildDir()
		if err != nil {
			return err
		}
		plugin = filepath.Join(build, "plugin-"+runtime.GOARCH)
	}
	fmt.Printf("A private host with Docker Engine %s, and a machine outside:\n", engine)
	l, err := lab.Up(ctx, lab.Config{Engines: []lab.Engine{engine}, DockerdArgs: []string{"--init"}})
	if err != nil {
		return err
	}
	defer func() {
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, l.Down(down))
		if err == nil {
			fmt.Printf("\nAll is well, and all is removed again, after %.1f s.\n", time.Since(begin).Seconds())
		}
	}()
	h := l.Host(1)
	fmt.Printf("    host %s, outside %s\n", h.Address(), l.Outside.Address())
	program, err := lab.BuiltCommand()
	if err != nil {
		return err
	}
	if err := errors.Join(h.ImportImages(ctx), h.InstallCommand(ctx, program)); err != nil {
		return err
	}
	s, err := newStage(ctx, l)
	if err != nil {
		return err
	}
	if err := s.outside(ctx); err != nil {
		return err
	}
	return s.play(ctx, plugin)
}
