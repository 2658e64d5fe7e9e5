package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/ournet/ournet/test/lab"
)

func list(_ context.Context, _ []string, out io.Writer) error {
	labs, err := lab.Open(nil)
	if err != nil {
		return err
	}
	for _, l := range labs {
		if err := describe(l, out); err != nil {
			return err
		}
	}
	return nil
}

// down removes the lab of that name, or all that were made with up.
func down(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("down", flag.ContinueOnError)
	name := flags.String("lab", "", "`name` of the lab; all if empty")
	if err := flags.Parse(args); err != nil {
		return err
	}
	labs, err := lab.Open(func(format string, args ...any) {
		fmt.Fprintf(out, format+"\n", args...) //nolint:errcheck // progress that nobody may read
	})
	if err != nil {
		return err
	}
	for _, l := range labs {
		if *name == "" || l.Name == *name {
			err = errors.Join(err, l.Down(ctx))
		}
	}
	return err
}

// execute runs a command in all of a machine's namespaces; docker is the client of
// the host's engine.
func execute(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("exec", flag.ContinueOnError)
	name := flags.String("lab", "", "`name` of the lab; not needed if there is only one")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() < 2 {
		return errors.New("exec: want a host and a command")
	}
	l, err := find(*name)
	if err != nil {
		return err
	}
	argv, run := flags.Args()[1:], l.Outside.Exec
	if who := strings.TrimPrefix(flags.Arg(0), "h"); who != l.Outside.Name {
		i, err := strconv.Atoi(who)
		if err != nil || i < 1 || i > len(l.Hosts) {
			return fmt.Errorf("exec: %s has no host %q", l.Name, flags.Arg(0))
		}
		run = l.Host(i).Exec
		if argv[0] == "docker" { // the host's own client, which is not in its PATH
			run, argv = l.Host(i).Docker, argv[1:]
		}
	}
	text, err := run(ctx, argv...)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, text)
	return err
}

func find(name string) (*lab.Lab, error) {
	labs, err := lab.Open(nil)
	if err != nil {
		return nil, err
	}
	var found []*lab.Lab
	for _, l := range labs {
		if name == "" || l.Name == name {
			found = append(found, l)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("there are %d such labs; name one with -lab, or make one with up", len(found))
	}
	return found[0], nil
}
