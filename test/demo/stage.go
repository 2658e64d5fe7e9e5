package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/ournet/ournet/test/lab"
)

// outsidePort is where the machine outside says whom it saw.
const outsidePort = "7000"

// stage is where the commands run.
type stage struct {
	lab   *lab.Lab
	host  *lab.Host
	probe string
}

func newStage(ctx context.Context, l *lab.Lab) (*stage, error) {
	probe, err := l.Probe(ctx)
	if err != nil {
		return nil, err
	}
	return &stage{lab: l, host: l.Host(1), probe: probe}, nil
}

// outside starts the server of the machine outside.
func (s *stage) outside(ctx context.Context) error {
	server, err := s.lab.Outside.Start(ctx, s.probe, "serve", "-tcp", ":"+outsidePort)
	if err != nil {
		return err
	}
	return lab.Poll(ctx, "the server outside", func() error {
		if !strings.Contains(server.Output(), "ready") {
			return errors.New(server.Output())
		}
		return nil
	})
}

// play runs the scenes in their order.
func (s *stage) play(ctx context.Context, plugin string) error {
	for _, scene := range []struct {
		title string
		run   func(ctx context.Context) error
	}{
		{"Install the plugin", func(ctx context.Context) error { return s.install(ctx, plugin) }},
		{"Make a network and run two containers on it", s.create},
		{"They ping each other", s.ping},
		{"One calls the world; NAT gives it the host's address", s.callOut},
		{"The world calls the published port, which ournet's own command shows", s.callIn},
		{"Remove all of it", s.remove},
	} {
		fmt.Printf("\n== %s\n", scene.title)
		if err := scene.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", strings.ToLower(scene.title), err)
		}
	}
	return nil
}

func (s *stage) install(ctx context.Context, plugin string) error {
	return s.docker(ctx,
		"plugin create "+pluginName+" "+plugin,
		"plugin enable "+pluginName,
		"plugin ls")
}

func (s *stage) create(ctx context.Context) error {
	return s.docker(ctx,
		"network create -d ournet --ipam-driver ournet lab",
		"run -d --name alice --network lab busybox sleep 1d",
		"run -d --name bob --network lab -p 8080:6379 redis",
		"network ls --filter driver=ournet",
		"exec alice ip -4 address show dev eth0")
}

func (s *stage) ping(ctx context.Context) error {
	return s.docker(ctx, "exec alice ping -c 3 -i 0.2 bob", "exec bob ping -c 3 -i 0.2 alice")
}

func (s *stage) callOut(ctx context.Context) error {
	target := net.JoinHostPort(s.lab.Outside.Address().String(), outsidePort)
	out, err := s.say(ctx, "exec alice probe who tcp "+target)
	if err != nil {
		return err
	}
	return expect("the machine outside", out, s.host.Address().String())
}

func (s *stage) callIn(ctx context.Context) error {
	if err := s.docker(ctx, "ournet ports"); err != nil {
		return err
	}
	target := net.JoinHostPort(s.host.Address().String(), "8080")
	fmt.Printf("outside$ probe who tcp %s\n", target)
	var out string
	// The container runs, but its server may not listen yet.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := lab.Poll(ctx, "an answer of the published port", func() (err error) {
		out, err = s.lab.Outside.Exec(ctx, s.probe, "who", "-timeout", "1s", "tcp", target)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Printf("    %s\n", out)
	return expect("the container", out, s.lab.Outside.Address().String())
}

func (s *stage) remove(ctx context.Context) error {
	return s.docker(ctx, "rm -f alice bob", "network rm lab", "plugin disable "+pluginName, "plugin rm "+pluginName)
}

// docker runs commands, one after the other.
func (s *stage) docker(ctx context.Context, lines ...string) error {
	for _, line := range lines {
		if _, err := s.say(ctx, line); err != nil {
			return err
		}
	}
	return nil
}

// say prints a docker command, runs it, and prints its answer.
func (s *stage) say(ctx context.Context, line string) (string, error) {
	fmt.Printf("host$ docker %s\n", line)
	out, err := s.host.Docker(ctx, strings.Fields(line)...)
	for text := range strings.Lines(out) {
		fmt.Printf("    %s\n", strings.TrimSuffix(text, "\n"))
	}
	return out, err
}

// expect reports whether who, which printed the address that it saw, saw want.
func expect(who, printed, want string) error {
	seen, _, err := net.SplitHostPort(strings.TrimSpace(printed))
	if err != nil {
		return fmt.Errorf("%s printed %q: %w", who, printed, err)
	}
	if seen != want {
		return fmt.Errorf("%s saw %s, want %s", who, seen, want)
	}
	fmt.Printf("    (%s saw %s, as it should)\n", who, seen)
	return nil
}
