// Command ournet is the process inside the managed Docker plugin.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/ournet/ournet/internal/config"
	"github.com/ournet/ournet/plugin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := run(ctx)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "ournet:", err)
	if errors.Is(err, plugin.ErrStart) {
		// The engine waits 12 s for a plugin to listen, then stops it and refuses
		// to enable it. One that has ended by itself meanwhile it cannot stop, and
		// refuses to enable it even when what was wrong is mended: 20.10 until the
		// engine is restarted ("id already in use"), 29 once.
		<-ctx.Done()
	}
	os.Exit(1) //nolint:gocritic // stop gives back what goes with the process
}

func run(ctx context.Context) error {
	cfg, err := config.Load(os.Getenv)
	if err != nil {
		return fmt.Errorf("%w: %w", plugin.ErrStart, err)
	}
	return plugin.Run(ctx, cfg, plugin.NewLogger(cfg, os.Stdout))
}
