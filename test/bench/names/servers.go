package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/ournet/ournet/test/lab"
)

const (
	ours, theirs, coredns, echoing = "ournet", "engine", "CoreDNS", "echo"
	// resolver is where containers ask.
	resolver = "127.0.0.11"
	// listen is where a server listens that has no rule of an engine or plugin.
	listen = "127.0.0.11:5300"
)

// server answers what is asked in a namespace at the address [resolver].
type server struct {
	name      string
	namespace string
	pid       int
	stop      func() error // nil if it is not ours to end
}

// serve makes all servers.
func (b *bed) serve(ctx context.Context, set settings) error {
	plugin, err := b.host.PluginPID(ctx, pluginName)
	if err != nil {
		return err
	}
	engine, err := b.host.EnginePID()
	if err != nil {
		return err
	}
	for i, s := range []server{{name: theirs, pid: engine}, {name: ours, pid: plugin}} {
		if s.namespace, err = b.namespace(ctx, networks()[i].resident()); err != nil {
			return err
		}
		b.servers = append(b.servers, s)
	}
	corefile, err := b.writeCorefile()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	for _, s := range []struct {
		name string
		argv []string
	}{
		{coredns, []string{set.coredns, "-quiet", "-conf", corefile}},
		{echoing, []string{self, "-echo", listen}},
	} {
		if err := b.serveAlone(ctx, s.name, s.argv); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	for _, s := range b.servers {
		if err := pin(s.pid); err != nil {
			return err
		}
	}
	return nil
}

// writeCorefile has the names' addresses be those of the network of ours.
func (b *bed) writeCorefile() (string, error) {
	var list strings.Builder
	for i := range names {
		fmt.Fprintf(&list, "%s2 %s\n", networks()[1].subnet, nameOf(i))
	}
	hosts, file := b.host.Dir()+"/bench-hosts", b.host.Dir()+"/Corefile"
	addr, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", listen, err)
	}
	text := fmt.Sprintf(".:%s {\n\tbind %s\n\terrors\n\thosts %s {\n\t\tttl 5\n\t}\n}\n", port, addr, hosts)
	err = errors.Join(os.WriteFile(hosts, []byte(list.String()), 0o644), os.WriteFile(file, []byte(text), 0o644))
	if err != nil {
		return "", fmt.Errorf("write what CoreDNS reads: %w", err)
	}
	return file, nil
}

// serveAlone runs a server in a container without a network, behind a rule of the form
// that the engine's and ours have.
func (b *bed) serveAlone(ctx context.Context, name string, argv []string) error {
	container := "bench-" + strings.ToLower(name)
	if err := b.start(ctx, container, "--network", "none"); err != nil {
		return err
	}
	namespace, err := b.namespace(ctx, container)
	if err != nil {
		return err
	}
	_, err = lab.InNamespace(ctx, namespace, "nft", "add table ip bench; "+
		"add chain ip bench output { type nat hook output priority -100; }; "+
		"add rule ip bench output ip daddr "+resolver+" udp dport 53 dnat to "+listen)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + namespace, "--"}, argv...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", argv[0], err)
	}
	b.servers = append(b.servers, server{name: name, namespace: namespace, pid: cmd.Process.Pid, stop: func() error {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return fmt.Errorf("stop %s: %w: %s", name, err, out.String())
		}
		_ = cmd.Wait() // it was told to end
		return nil
	}})
	return nil
}

// echo sends each packet back as an answer, one at a time, until ctx ends.
func echo(ctx context.Context, address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("read the address: %w", err)
	}
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // ends the read
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if ctx.Err() != nil {
			return nil // it was closed because ctx ended
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		buf[2] |= 0x80 // or dnsperf would not take it for an answer
		if _, err := conn.WriteToUDPAddrPort(buf[:n], from); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
}
