package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/internal/consultest"
	"github.com/ournet/ournet/test/lab"
)

// clusterLab is a lab whose hosts have a plugin that knows the Consul servers outside.
type clusterLab struct {
	lab    *lab.Lab
	consul *consultest.Cluster
	opts   clusterOptions
	// vteps are the addresses that hosts send to, by the hosts' names, where they are
	// not those by which the lab knows them.
	vteps map[string]string
}

// clusterOptions say what a cluster is to be like.
type clusterOptions struct {
	engines []lab.Engine
	// servers is how many servers Consul has; 0 is one.
	servers int
	// secure has Consul want a token and certificates.
	secure bool
	// settings are the plugin's, beside CLUSTER_STORE.
	settings []string
	// six has the hosts send to each other by IPv6.
	six bool
	// bare leaves the plugin out.
	bare bool
}

// newClusterLab makes a lab with Consul and the plugin. On an error nothing is left.
func newClusterLab(ctx context.Context, opts clusterOptions) (*clusterLab, error) {
	l, err := lab.Up(ctx, lab.Config{Engines: opts.engines, DockerdArgs: []string{"--init"}})
	if err != nil {
		return nil, err
	}
	c := &clusterLab{lab: l, opts: opts, vteps: map[string]string{}}
	if err := c.furnish(ctx, opts); err != nil {
		return nil, errors.Join(err, c.down(context.WithoutCancel(ctx)))
	}
	return c, nil
}

func (c *clusterLab) furnish(ctx context.Context, opts clusterOptions) error {
	plugin, err := pluginDir()
	if err != nil {
		return err
	}
	if err := c.lab.InstallCompose(); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, h := range c.lab.Hosts {
		g.Go(func() error {
			return errors.Join(h.ImportImages(gctx), warmUp(gctx, h), installCommand(gctx, h))
		})
	}
	g.Go(func() error { return serveOutside(gctx, c.lab) })
	g.Go(func() (err error) {
		c.consul, err = openConsul(gctx, c.lab, max(opts.servers, 1), opts.secure)
		return err
	})
	if err := g.Wait(); err != nil || opts.bare {
		return err
	}
	g, gctx = errgroup.WithContext(ctx)
	settings := append([]string{c.store()}, opts.settings...)
	if opts.six {
		settings = append(settings, "CLUSTER_ADVERTISE=2001:db8:99::/64")
	}
	for _, h := range c.lab.Hosts {
		g.Go(func() error { return h.InstallPlugin(gctx, plugin, pluginName, settings...) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return c.warmUp(ctx)
}

// warmUp has each host run a container on a network of the cluster: for the first one
// the engine makes docker_gwbridge, which then stays.
func (c *clusterLab) warmUp(ctx context.Context) error {
	const create = "network create -d ournet -o type=overlay --ipam-driver ournet --subnet 10.199.0.0/24 warm"
	// On a machine with much to do Consul may just be electing a leader.
	err := lab.Poll(ctx, "the first network", func() error {
		_, err := c.lab.Host(1).Docker(ctx, strings.Fields(create)...)
		return err
	})
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, h := range c.lab.Hosts {
		g.Go(func() error {
			return lab.Poll(gctx, "a container on the first network of "+h.Name, func() error {
				_, err := h.Docker(gctx, "run", "--rm", "--network", "warm", lab.BusyboxImage, "true")
				return err
			})
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if _, err := c.lab.Host(1).Docker(ctx, "network", "rm", "warm"); err != nil {
		return err
	}
	for _, h := range c.lab.Hosts {
		err := lab.Poll(ctx, "the end of the first network on "+h.Name, func() error {
			if _, err := h.Docker(ctx, "network", "inspect", "warm"); err == nil {
				return errors.New("it is still there")
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// openConsul starts Consul's servers on addresses of the outside.
func openConsul(ctx context.Context, l *lab.Lab, servers int, secure bool) (*consultest.Cluster, error) {
	cache, err := lab.CacheDir()
	if err != nil {
		return nil, err
	}
	namespace, err := l.Outside.Namespace()
	if err != nil {
		return nil, err
	}
	opts := consultest.Options{
		Binary: filepath.Join(cache, "bin", "consul"),
		Dir:    filepath.Join(l.Dir, "consul"),
		Enter:  []string{"nsenter", "--net=" + namespace, "--"},
		ACL:    secure, TLS: secure,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dialWithin(ctx, namespace, network, address)
		},
	}
	if err := os.MkdirAll(opts.Dir, 0o755); err != nil {
		return nil, err
	}
	for i := range servers {
		addr, err := l.ServerAddress(ctx, i+1)
		if err != nil {
			return nil, err
		}
		opts.Addresses = append(opts.Addresses, addr)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return consultest.Open(ctx, opts)
}

// storePrefix is what all keys of the cluster begin with.
const storePrefix = "ournet/"

// store returns the setting that leads a plugin to the servers.
func (c *clusterLab) store() string {
	return "CLUSTER_STORE=consul://" + strings.Join(c.consul.Addresses(), ",") + "/" + strings.TrimSuffix(storePrefix, "/")
}

func (c *clusterLab) down(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var err error
	if c.consul != nil {
		err = c.consul.Close()
	}
	return errors.Join(err, c.lab.Down(ctx))
}

// composition is what engines the hosts of a cluster run.
type composition string

// The compositions that the tests know. In the mixed one each host has another engine
// or firewall backend.
const (
	allOld composition = "20.10"
	allNew composition = "29"
	mixed  composition = "mixed"
)

func (c composition) engines() []lab.Engine {
	switch c {
	case allOld:
		return []lab.Engine{lab.Engine2010, lab.Engine2010, lab.Engine2010}
	case allNew:
		return []lab.Engine{lab.Engine29, lab.Engine29, lab.Engine29}
	case mixed:
	}
	return []lab.Engine{lab.Engine29, lab.Engine2010, lab.Engine29NFT}
}

// clusters are those of the tests that leave their hosts as they were.
var clusters = clusterFixtures{all: map[composition]*clusterFixture{}}

type clusterFixtures struct {
	mu  sync.Mutex // guards all
	all map[composition]*clusterFixture
}

// clusterFixture is a cluster that is made when the first test asks for it. One test
// at a time has it: networks of a cluster are on all of its hosts.
type clusterFixture struct {
	turn sync.Mutex
	once sync.Once
	c    *clusterLab
	err  error
}

func (f *clusterFixtures) of(c composition) *clusterFixture {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all[c] == nil {
		f.all[c] = &clusterFixture{}
	}
	return f.all[c]
}

func (f *clusterFixture) up(of composition) (*clusterLab, error) {
	f.once.Do(func() {
		begin := time.Now()
		f.c, f.err = newClusterLab(context.Background(), clusterOptions{engines: of.engines()})
		if f.err == nil {
			fmt.Fprintf(os.Stderr, "cluster of %d hosts, %s: %.1f s\n", len(f.c.lab.Hosts), of, time.Since(begin).Seconds())
		}
	})
	return f.c, f.err
}

func (f *clusterFixtures) down() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, fixture := range f.all {
		if fixture.c != nil {
			errs = append(errs, fixture.c.down(context.Background()))
		}
	}
	return errors.Join(errs...)
}

// inClusters runs the test in a cluster of each of the compositions, at the same time;
// the next tests use them again.
func inClusters(t *testing.T, compositions []composition, test func(c *cluster)) {
	t.Helper()
	for _, of := range compositions {
		t.Run(string(of), func(t *testing.T) {
			t.Parallel()
			f := clusters.of(of)
			f.turn.Lock()
			// Before what the test's own cleaning does.
			t.Cleanup(f.turn.Unlock)
			made, err := f.up(of)
			if err != nil {
				t.Fatalf("make the cluster: %v", err)
			}
			c := clusterOf(t, made)
			c.leaveClean()
			test(c)
		})
	}
}

// inMixedCluster is [inClusters] for tests that the composition does not matter to.
func inMixedCluster(t *testing.T, test func(c *cluster)) {
	t.Helper()
	inClusters(t, []composition{mixed}, test)
}

// inFreshCluster runs the test in a cluster that nothing else uses.
func inFreshCluster(t *testing.T, opts clusterOptions, test func(c *cluster)) {
	t.Helper()
	made, err := newClusterLab(t.Context(), opts)
	if err != nil {
		t.Fatalf("make the cluster: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() && made.consul != nil {
			made.consul.Log(t)
		}
		if err := made.down(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("remove the cluster: %v", err)
		}
	})
	test(clusterOf(t, made))
}
