package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/dns"
	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/sandbox"
	"github.com/ournet/ournet/internal/ttl"
)

const (
	// key is this process's own namespace, as a sandbox.
	key = "/proc/self/ns/net"
	// hosts is how many names there are.
	hosts = 1000
)

func hostName(i int) string { return fmt.Sprintf("host%d", i) }

// serve is one of the servers, until ctx ends. It writes a byte when it is ready.
func serve(ctx context.Context, role string) error {
	log := logrus.New()
	log.SetOutput(os.Stderr)
	boxes := sandbox.New(log, hostfs.New("/"), sandbox.Options{})
	box, err := boxes.Ensure(ctx, key)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return boxes.Run(ctx) })
	group.Go(func() error {
		<-ctx.Done()
		return boxes.Remove(context.WithoutCancel(ctx), key)
	})
	switch role {
	case "echo":
		group.Go(func() error { return echo(ctx, box.UDP) })
	case "ournet":
		group.Go(func() error {
			return dns.New(log, records(), dns.Options{}).Serve(ctx, key, dns.Sockets{UDP: box.UDP, TCP: box.TCP, Dial: box.Dial})
		})
	default:
		return fmt.Errorf("there is no server %q", role)
	}
	if _, err := os.Stdout.WriteString("."); err != nil {
		return err
	}
	return group.Wait()
}

// echo sends each packet back as an answer, one at a time.
func echo(ctx context.Context, conn *net.UDPConn) error {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err != nil {
			return nil //nolint:nilerr // it was closed because ctx ended
		}
		buf[2] |= 0x80 // or dnsperf would not take it for an answer
		if _, err := conn.WriteToUDPAddrPort(buf[:n], from); err != nil {
			return err
		}
	}
}

func records() *dns.Records {
	r := dns.NewRecords()
	r.SetNetwork(dns.Network{ID: "n", Name: "lab", TTL: ttl.Default})
	var all []dns.Endpoint
	for i := range hosts {
		all = append(all, dns.Endpoint{
			ID: dns.EndpointID(hostName(i)), Name: hostName(i),
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})},
		})
	}
	r.Replace("n", "h", all)
	r.SetSandbox(key, dns.Sandbox{Networks: []dns.NetworkID{"n"}})
	return r
}
