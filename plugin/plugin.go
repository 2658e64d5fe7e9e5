// Package plugin is where everything meets: it speaks Docker's protocol for
// network and address drivers, and wires the parts of ournet together.
//
// It is the only package that sees all others. Foreign data is parsed here once
// and goes on as values that are valid by construction.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/bridge"
	"github.com/ournet/ournet/internal/config"
	"github.com/ournet/ournet/internal/engine"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/hostport"
	"github.com/ournet/ournet/internal/link"
	"github.com/ournet/ournet/internal/store/boltstore"
	"github.com/ournet/ournet/ipam"
)

// startTimeout bounds the first reconciliation. The engine waits about 10 s for
// the first answer before it gives a plugin up (daemon/pkg/plugin/manager_linux.go),
// and connections wait in the sockets' backlog meanwhile.
const startTimeout = 5 * time.Second

// NewLogger returns the process's logger. The engine adds the time to what a
// plugin prints, so the logger leaves it out; and it takes what comes on standard
// error for errors, so everything goes to standard output.
func NewLogger(cfg config.Config, to io.Writer) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(to)
	log.SetLevel(cfg.LogLevel)
	log.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true, DisableColors: true})
	return log
}

// Run runs the plugin until ctx ends. What is in the kernel stays then:
// containers go on talking while the plugin is away, and the next process takes
// over from the records.
func Run(ctx context.Context, cfg config.Config, log logrus.FieldLogger) (err error) {
	listeners, err := listen(cfg)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range listeners {
			if cerr := l.Close(); cerr != nil && !errors.Is(cerr, net.ErrClosed) {
				err = errors.Join(err, cerr)
			}
		}
	}()
	kv, err := boltstore.Open(ctx, filepath.Join(cfg.StateDir, "ournet.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kv.Close()) }()

	host := hostfs.New(cfg.HostRoot)
	devices, err := link.New(host)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, devices.Close()) }()
	rules, err := firewall.New(log, host, firewall.Options{})
	if err != nil {
		return err
	}
	ports := hostport.New()
	defer func() { err = errors.Join(err, ports.Close()) }()
	bridges := bridge.New(log, cfg.Name, bridge.Kernel{Devices: devices, Rules: rules, Ports: ports, Sysctls: host})
	networks, err := driver.Open(ctx, kv, map[driver.Type]driver.Driver{driver.TypeBridge: bridges}, log)
	if err != nil {
		return err
	}
	blocks, err := ipam.ParseBlocks(cfg.DefaultAddressPools)
	if err != nil {
		return fmt.Errorf("DEFAULT_ADDRESS_POOLS: %w", err)
	}
	addresses, err := ipam.Open(ctx, kv, routesOf(devices), log, ipam.Settings{Pools: blocks})
	if err != nil {
		return err
	}

	handler := NewHandler(log, networks, addresses)
	k := &keeper{
		log: log, networks: networks, addresses: addresses, verbs: handler.verbs,
		devices: devices, engine: engine.New(cfg.HostRoot, log),
	}
	if err := k.start(ctx); err != nil {
		// Serving a host that is not quite right beats not serving it: the
		// keeper goes on trying.
		log.WithError(err).Error("the kernel could not be brought to what the records say")
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return Serve(gctx, handler, listeners...) })
	g.Go(func() error { return k.run(gctx) })
	log.WithField("name", cfg.Name).Info("ournet is ready")
	err = g.Wait()
	handler.Wait()
	return err
}

// listen opens the engine's own socket for this plugin and the one under the
// short name, before anything that may take time.
func listen(cfg config.Config) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, path := range []string{cfg.ManagedSocket, filepath.Join(cfg.SharedSocketDir, cfg.Name+".sock")} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, fmt.Errorf("make the folder of socket %s: %w", path, err)
		}
		l, err := Listen(path)
		if err != nil {
			for _, open := range listeners {
				err = errors.Join(err, open.Close())
			}
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// routesOf returns a function that lists the subnets that this host routes.
func routesOf(devices *link.Handle) func() ([]netip.Prefix, error) {
	return func() ([]netip.Prefix, error) {
		routes, err := devices.Routes()
		if err != nil {
			return nil, err
		}
		prefixes := make([]netip.Prefix, 0, len(routes))
		for _, r := range routes {
			prefixes = append(prefixes, r.Dst)
		}
		return prefixes, nil
	}
}
