package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/dns"
	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/internal/store/boltstore"
	"github.com/ournet/ournet/internal/store/consul"
	"github.com/ournet/ournet/plugin/remotenames"
	"github.com/ournet/ournet/test/bench/simulated"
)

// sandbox is the one container that each host has; it asks.
const sandbox dns.SandboxKey = "asker"

// ttl is the plugin's own default.
const ttl = 5 * time.Second

// wait is a name that is waited for, or that is to be gone.
type wait struct {
	name  string
	addr  netip.Addr
	gone  bool
	found chan<- time.Time
}

// host is one simulated host.
type host struct {
	*cluster.Cluster

	file    *boltstore.Store
	shared  *consul.Store
	changes *cluster.Changes
	records *dns.Records
	names   *remotenames.Names
	server  string // where the host's responder answers
	asker   net.Resolver
	// awaited is what it looks for after each change, nil for nothing.
	awaited atomic.Pointer[wait]
	running sync.WaitGroup
	failed  chan<- error
}

// newHost starts a host. The caller closes it, also beside an error.
func newHost(ctx context.Context, log logrus.FieldLogger, dir, address string, n int, failed chan<- error) (h *host, err error) {
	h = &host{records: dns.NewRecords(), failed: failed}
	if h.file, err = boltstore.Open(ctx, filepath.Join(dir, fmt.Sprintf("host%d.db", n))); err != nil {
		return h, err
	}
	cfg := consul.Defaults()
	cfg.Addresses = []string{address}
	if h.shared, err = consul.New(log, cfg); err != nil {
		return h, err
	}
	if h.Cluster, err = simulated.Open(ctx, log, h.file, h.shared, n); err != nil {
		return h, err
	}
	h.changes = h.Changes()
	h.names = remotenames.New(h.Cluster, h.records)
	if err := h.serve(ctx, log); err != nil {
		return h, err
	}
	h.run(func() error { return h.Run(ctx) })
	return h, nil
}

// run keeps something running until the bench ends.
func (h *host) run(f func() error) {
	h.running.Go(func() {
		if err := f(); err != nil && !errors.Is(err, context.Canceled) {
			select {
			case h.failed <- err:
			default: // one is enough
			}
		}
	})
}

// serve answers the host's container, as in a container's namespace.
func (h *host) serve(ctx context.Context, log logrus.FieldLogger) error {
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return fmt.Errorf("open the responder's socket: %w", err)
	}
	var lc net.ListenConfig
	tcp, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(fmt.Errorf("open the responder's socket: %w", err), udp.Close())
	}
	h.server = udp.LocalAddr().String()
	h.asker = net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, h.server)
	}}
	nobody := func(context.Context, string) (net.Conn, error) { return nil, errors.New("there is no other resolver") }
	h.run(func() error {
		return dns.New(log, h.records, dns.Options{}).Serve(ctx, sandbox, dns.Sockets{UDP: udp, TCP: tcp, Dial: nobody})
	})
	return nil
}

// follow takes every change of the network to the records, as the plugin does, and then
// asks for what is awaited.
func (h *host) follow(ctx context.Context, network cluster.NetworkID) {
	id := driver.NetworkID(network)
	h.records.SetNetwork(dns.Network{ID: dns.NetworkID(id), Name: "bench", TTL: ttl})
	h.records.SetSandbox(sandbox, dns.Sandbox{Networks: []dns.NetworkID{dns.NetworkID(id)}})
	h.run(func() error {
		for {
			if _, err := h.changes.Wait(ctx); err != nil {
				return err
			}
			h.names.SetHosts()
			h.names.SetNetwork(id, network)
			if err := h.look(ctx); err != nil {
				return err
			}
		}
	})
}

// look tells whoever waits for a name that it resolves here.
func (h *host) look(ctx context.Context) error {
	w := h.awaited.Load()
	if w == nil {
		return nil
	}
	there, err := h.resolves(ctx, w.name, w.addr)
	if err != nil {
		return err
	}
	if there != w.gone && h.awaited.CompareAndSwap(w, nil) {
		w.found <- time.Now()
	}
	return nil
}

// resolves asks the host's responder.
func (h *host) resolves(ctx context.Context, name string, addr netip.Addr) (bool, error) {
	found, err := h.asker.LookupNetIP(ctx, "ip4", name+".")
	if failed := (*net.DNSError)(nil); errors.As(err, &failed) && !failed.IsTimeout {
		return false, nil // what is not the responder's nobody else has
	}
	if err != nil {
		return false, fmt.Errorf("ask for %s: %w", name, err)
	}
	return slices.Contains(found, addr), nil
}

func (h *host) close() error {
	h.running.Wait()
	var errs []error
	if h.changes != nil {
		h.changes.Close()
	}
	if h.shared != nil {
		errs = append(errs, h.shared.Close())
	}
	if h.file != nil {
		errs = append(errs, h.file.Close())
	}
	return errors.Join(errs...)
}
