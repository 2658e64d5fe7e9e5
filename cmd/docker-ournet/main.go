// Command docker-ournet is the operator's command, `docker ournet`.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/ournet/ournet/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := cli.Run(ctx, cli.Process{Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv})
	stop()
	os.Exit(code)
}
