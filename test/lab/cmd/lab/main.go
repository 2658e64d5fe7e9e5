// Command lab runs a [lab.Lab] for people.
//
//	lab up [-hosts N] [-engine 29] [-consul] [-plugin DIR] [-command FILE] [-name NAME] [NAME=value...]
//	lab list
//	lab exec [-lab NAME] HOST COMMAND...
//	lab down [-lab NAME]
//
// HOST is a number from 1, or "outside".
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string, out io.Writer) error {
	commands := map[string]func(context.Context, []string, io.Writer) error{
		"up": up, "list": list, "exec": execute, "down": down,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		return errors.New("want up, list, exec or down")
	}
	return commands[args[0]](ctx, args[1:], out)
}
