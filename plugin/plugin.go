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

	"github.com/ournet/ournet/dns"
	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/bridge"
	"github.com/ournet/ournet/internal/admin"
	"github.com/ournet/ournet/internal/config"
	"github.com/ournet/ournet/internal/engine"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/hostport"
	"github.com/ournet/ournet/internal/link"
	"github.com/ournet/ournet/internal/store/boltstore"
	"github.com/ournet/ournet/internal/version"
	"github.com/ournet/ournet/ipam"
	"github.com/ournet/ournet/plugin/names"
)

// startTimeout bounds the first reconciliation. The engine waits about 10 s for
// the first answer before it gives a plugin up (daemon/pkg/plugin/manager_linux.go),
// and connections wait in the sockets' backlog meanwhile.
const startTimeout = 5 * time.Second

// stopTimeout bounds what is left to do after the last verb. The engine kills a
// plugin 10 s after it asked it to end (daemon/pkg/plugin/manager_linux.go), of
// which [Serve] may have taken some.
const stopTimeout = 5 * time.Second

// ErrStart is the error of a plugin that never came to serve.
var ErrStart = errors.New("not started")

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

// Run runs the plugin until ctx ends. If there are networks, what is in the kernel
// stays then: containers go on talking while the plugin is away, and the next
// process takes over from the records. The error is [ErrStart] if it never served.
func Run(ctx context.Context, cfg config.Config, log logrus.FieldLogger) (err error) {
	// Before there is a socket: an engine that finds one takes the plugin for started.
	blocks, err := ipam.ParseBlocks(cfg.DefaultAddressPools)
	if err != nil {
		return fmt.Errorf("%w: settings: %s: %w", ErrStart, config.EnvDefaultAddressPools, err)
	}
	listeners, err := listen(ctx, cfg)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	p := &parts{cfg: cfg, log: log, repairs: newRepairs()}
	defer func() { err = errors.Join(err, closeAll(listeners), p.close()) }() //nolint:contextcheck // which has ended by then
	if err := p.open(ctx, blocks); err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	handler := NewHandler(log, p.networks, p.addresses)
	handler.verbs.names = p.names
	handler.verbs.fabric = p.membership
	handler.registerCluster(p.membership)
	handler.read(admin.RepairsPath, func() any { return p.repairs.snapshot() })
	handler.ipam.explain = (&owners{cluster: p.cluster, name: p.names.NetworkName}).explain
	p.propagator.rivals = handler.rivals
	k := &keeper{
		log: log, networks: p.networks, addresses: p.addresses, verbs: handler.verbs,
		devices: p.devices, rules: p.rules, repairs: p.repairs, names: p.names, engine: p.engine, pluginID: p.id,
		neighbours: engineBridges{kv: p.kv, isolator: p.bridges},
		cluster:    p.membership, tunnels: p.overlays, propagator: p.propagator,
		causes: make(chan string, 1),
	}
	p.moved = k.tell
	if err := k.start(ctx); err != nil {
		// Serving a host that is not quite right beats not serving it: the
		// keeper goes on trying.
		log.WithError(err).Error("the kernel could not be brought to what the records say")
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return Serve(gctx, handler, listeners...) })
	g.Go(func() error { return k.run(gctx) })
	g.Go(func() error { return p.names.Run(gctx) })
	g.Go(func() error { return p.runCluster(gctx) })
	log.WithFields(logrus.Fields{"name": cfg.Name, "plugin": p.id[:min(len(p.id), 12)], "version": version.Current}).Info("ournet is ready")
	err = g.Wait()
	handler.Wait()
	if err != nil {
		return err
	}
	return p.leave(ctx)
}

// parts are what a plugin is made of, in the order in which they are opened.
type parts struct {
	cfg       config.Config
	log       logrus.FieldLogger
	id        string // the engine's for this plugin
	kv        *boltstore.Store
	devices   *link.Handle
	rules     *firewall.Table
	repairs   *repairs
	ports     *hostport.Holder
	bridges   *bridge.Driver
	networks  *driver.Registry
	addresses *ipam.Manager
	engine    *engine.Client
	records   *dns.Records
	names     *names.Names
	*clusterParts
}

// open opens all parts. Whatever it opened before it failed, close closes.
func (p *parts) open(ctx context.Context, blocks []ipam.Block) (err error) {
	if p.kv, err = boltstore.Open(ctx, filepath.Join(p.cfg.StateDir, "ournet.db")); err != nil {
		return err
	}
	if p.id, err = ownID(p.cfg.StateDir); err != nil {
		return err
	}
	host := hostfs.New(p.cfg.HostRoot)
	if p.devices, err = link.New(host); err != nil {
		return err
	}
	if p.rules, err = firewall.New(p.log, host, firewall.Options{
		Name:     tableName(p.cfg.Name),
		Repaired: func(what []string) { p.repairs.report(p.log, "a change that the kernel refused", what) },
	}); err != nil {
		return err
	}
	if err = p.openCluster(ctx, host); err != nil {
		return err
	}
	p.ports = hostport.New()
	p.bridges = bridge.New(p.log, p.cfg.Name, bridge.Kernel{Devices: p.devices, Rules: p.rules, Ports: p.ports, Sysctls: host})
	p.networks, err = driver.Open(ctx, p.kv, map[driver.Type]driver.Driver{driver.TypeBridge: p.bridges, driver.TypeOverlay: p.overlays}, p.log)
	if err != nil {
		return err
	}
	if p.addresses, err = ipam.Open(ctx, p.kv, routesOf(p.devices), p.log, ipam.Settings{
		Pools: blocks, Cluster: p.sharedPools(),
	}); err != nil {
		return err
	}
	p.engine = engine.New(p.cfg.HostRoot, p.log)
	p.joinCluster()
	p.openNames(ctx, host, p.engine, p.cfg.DNSTTL)
	return nil
}

// leave takes our rules off the host if no network needs them: the plugin may be
// about to be removed, and is not told.
func (p *parts) leave(ctx context.Context) error {
	if n := len(p.networks.All()); n > 0 {
		p.log.WithField("networks", n).Info("ournet stops; its networks stay as they are")
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return p.rules.Remove(ctx)
}

// ownID returns the engine's id for this plugin, "" if no engine runs it.
func ownID(stateDir string) (id string, err error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("find the plugin's id: %w", err)
	}
	defer func() { err = errors.Join(err, mounts.Close()) }()
	return engine.PluginID(mounts, stateDir)
}

func (p *parts) close() error {
	var errs []error
	if p.names != nil {
		p.names.Close()
	}
	if p.ports != nil {
		errs = append(errs, p.ports.Close())
	}
	if p.devices != nil {
		errs = append(errs, p.devices.Close())
	}
	if p.clusterParts != nil {
		errs = append(errs, p.store.Close())
	}
	if p.kv != nil {
		errs = append(errs, p.kv.Close())
	}
	return errors.Join(errs...)
}

func closeAll(listeners []net.Listener) error {
	var errs []error
	for _, l := range listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// tableName returns the name of an instance's part of the packet filter. A name
// chosen by a user must not be that of a table or chain of someone else, which
// would be overwritten: there often is a table filter.
func tableName(instance string) string {
	if name := config.Defaults().Name; instance != name {
		return name + "-" + instance
	}
	return instance
}

// listen opens the engine's own socket for this plugin and the one under the
// short name, before anything that may take time.
func listen(ctx context.Context, cfg config.Config) ([]net.Listener, error) {
	shared := filepath.Join(cfg.SharedSocketDir, cfg.Name+".sock")
	if isServed(ctx, shared) {
		// Two with one name would take each other's bridges for left over.
		return nil, fmt.Errorf("settings: %s=%q: another plugin of that name runs on this engine; disable it first, or choose another",
			config.EnvName, cfg.Name)
	}
	var listeners []net.Listener
	for _, path := range []string{cfg.ManagedSocket, shared} {
		l, err := Listen(path)
		if err != nil {
			return nil, errors.Join(err, closeAll(listeners))
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
