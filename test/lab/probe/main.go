// Command probe is what tests run in containers and on hosts to see what the
// network does. It is static and needs nothing of its root file system.
//
//	probe serve [-tcp ADDR] [-udp ADDR] [-dns ADDR -name NAME -addr IP]
//	                                        say who called, then echo; answer queries
//	probe who tcp|udp ADDR                  call, print whom the server saw
//	probe flow tcp|udp ADDR [-every D] [-for D]
//	                                        send numbered messages; print a report
//	probe lookup NAME                       print the addresses of a name
//	probe query [-server ADDR] [-every D] [-for D] [-patience D] NAME
//	                                        ask a name server; print the answers
//	probe arrive ADDR                       tell whoever asks when this began
//	probe await ADDR NAME                   wait until one that arrives there answers and has
//	                                        that name; print how long both took
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
	err := probe(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func probe(ctx context.Context, args []string, out io.Writer) error {
	commands := map[string]func(context.Context, []string, io.Writer) error{
		"serve": serve, "who": who, "flow": flow, "lookup": lookup, "query": query, "arrive": arrive, "await": await,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		return errors.New("want serve, who, flow, lookup, query, arrive or await")
	}
	return commands[args[0]](ctx, args[1:], out)
}
