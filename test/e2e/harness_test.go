package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/test/lab"
)

// pluginName is what users install; -d ournet finds it by its own socket.
const pluginName = "ournet/ournet:latest"

// shared is the lab of the tests that leave their host as it was.
var shared fixture

// fixture is a lab that is made when the first test asks for it.
type fixture struct {
	once sync.Once
	lab  *lab.Lab
	err  error
}

func (f *fixture) up() (*lab.Lab, error) {
	f.once.Do(func() {
		begin := time.Now()
		f.lab, f.err = newLab(context.Background(), lab.Backends()...)
		if f.err == nil {
			fmt.Fprintf(os.Stderr, "lab with the plugin on %d hosts: %.1f s\n", len(f.lab.Hosts), time.Since(begin).Seconds())
		}
	})
	return f.lab, f.err
}

func (f *fixture) down() error {
	if f.lab == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return f.lab.Down(ctx)
}

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if err := errors.Join(shared.down(), clusters.down(), failed.print(os.Stdout)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// newLab returns a lab with a host per engine, each with the images and the plugin.
func newLab(ctx context.Context, engines ...lab.Engine) (*lab.Lab, error) {
	dir, err := pluginDir()
	if err != nil {
		return nil, err
	}
	l, err := lab.Up(ctx, lab.Config{Engines: engines, DockerdArgs: []string{"--init"}})
	if err != nil {
		return nil, err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, h := range l.Hosts {
		g.Go(func() error { return furnish(gctx, h, dir) })
	}
	g.Go(func() error { return serveOutside(gctx, l) })
	if err := g.Wait(); err != nil {
		return nil, errors.Join(err, l.Down(ctx))
	}
	return l, nil
}

// furnish imports the images, warms the engine up, and installs the plugin and the
// operator's command. It does not use the plugin: what it leaves shall be seen.
func furnish(ctx context.Context, h *lab.Host, plugin string, settings ...string) error {
	if err := h.ImportImages(ctx); err != nil {
		return err
	}
	if err := warmUp(ctx, h); err != nil {
		return err
	}
	if err := installCommand(ctx, h); err != nil {
		return err
	}
	return h.InstallPlugin(ctx, plugin, pluginName, settings...)
}

// installCommand installs the built operator's command.
func installCommand(ctx context.Context, h *lab.Host) error {
	file, err := lab.BuiltCommand()
	if err != nil {
		return err
	}
	return h.InstallCommand(ctx, file)
}

// warmUp publishes a port of the engine's own bridge and makes a network of its own
// with IPv6. The first time the engine makes rules, and lets the host forward IPv6,
// which gives each of the host's subnets a router's address; both then stay.
func warmUp(ctx context.Context, h *lab.Host) error {
	for _, line := range []string{
		"run --rm -p 1:1 " + lab.BusyboxImage + " true",
		"network create --ipv6 --subnet fd00:99::/64 warm",
		"run --rm --network warm -p 1:1 " + lab.BusyboxImage + " true",
		"network rm warm",
	} {
		if _, err := h.Docker(ctx, strings.Fields(line)...); err != nil {
			return err
		}
	}
	return nil
}

// pluginDir returns the folder of the built plugin.
func pluginDir() (string, error) {
	build, err := lab.BuildDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(build, "plugin-"+runtime.GOARCH)
	if _, err := os.Stat(filepath.Join(dir, "config.json")); err != nil {
		return "", fmt.Errorf("the plugin is not built: run `make plugin`: %w", err)
	}
	return dir, nil
}

const (
	// outsidePort is where the outside says whom it saw, by TCP and UDP.
	outsidePort = "7000"
	// outsideFQDN is the one name that the hosts' DNS server knows.
	outsideFQDN = "outside.example"
)

func serveOutside(ctx context.Context, l *lab.Lab) error {
	probe, err := l.Probe(ctx)
	if err != nil {
		return err
	}
	server, err := l.Outside.Start(context.WithoutCancel(ctx), probe, "serve", "-tcp", ":"+outsidePort, "-udp", ":"+outsidePort,
		"-dns", ":53", "-name", outsideFQDN, "-addr", l.Outside.Address().String())
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

// each runs the test on every engine at the same time, each on a host of its own
// that the next tests use again.
func each(t *testing.T, test func(h *host)) {
	t.Helper()
	eachOf(t, lab.Engines(), test)
}

// eachBackend is each for tests that the engine's firewall rules matter to: it also
// runs them beside an engine that has its rules in nftables.
func eachBackend(t *testing.T, test func(h *host)) {
	t.Helper()
	eachOf(t, lab.Backends(), test)
}

func eachOf(t *testing.T, engines []lab.Engine, test func(h *host)) {
	t.Helper()
	l, err := shared.up()
	if err != nil {
		t.Fatalf("make the lab: %v", err)
	}
	for _, lh := range l.Hosts {
		if !slices.Contains(engines, lh.Engine) {
			continue
		}
		t.Run(string(lh.Engine), func(t *testing.T) {
			t.Parallel()
			h := newHost(t, l, lh)
			h.leaveClean()
			test(h)
		})
	}
}

// eachFresh is each with a lab per engine that nothing else uses: for tests that
// end with a host which is not as it was.
func eachFresh(t *testing.T, test func(h *host)) {
	t.Helper()
	eachFreshOf(t, lab.Engines(), test)
}

func eachFreshOf(t *testing.T, engines []lab.Engine, test func(h *host)) {
	t.Helper()
	for _, engine := range engines {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			l, err := newLab(t.Context(), engine)
			if err != nil {
				t.Fatalf("make the lab: %v", err)
			}
			t.Cleanup(func() {
				if err := l.Down(context.WithoutCancel(t.Context())); err != nil {
					t.Errorf("remove the lab: %v", err)
				}
			})
			test(newHost(t, l, l.Host(1)))
		})
	}
}
