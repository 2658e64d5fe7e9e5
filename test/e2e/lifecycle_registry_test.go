package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/test/lab"
)

// The plugin in the registry. Engines take one on a loopback address without TLS.
const (
	registryAddress = "127.0.0.1:5000"
	version1        = registryAddress + "/ournet/ournet:1"
	version2        = registryAddress + "/ournet/ournet:2"
)

// versionFile is in the root file system of version 2 alone.
const versionFile = "etc/ournet-version"

// registryConfig is the registry's, with its folder and address to be filled in.
const registryConfig = `version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %s}}
http: {addr: "%s"}
`

// eachFromRegistry runs the test on every engine at the same time, each on a host of
// its own without the plugin, on which a registry has its versions 1 and 2.
func eachFromRegistry(t *testing.T, test func(h *host)) {
	t.Helper()
	versions := pluginVersions(t)
	for _, engine := range lab.Engines() {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			h := newHostWithoutPlugin(t, engine)
			h.startRegistry()
			for reference, dir := range versions {
				h.run("docker plugin create " + reference + " " + dir)
				h.run("docker plugin push " + reference)
				h.run("docker plugin rm " + reference)
			}
			test(h)
		})
	}
}

// pluginVersions returns the folders of the built plugin and of one that differs, by
// their references.
func pluginVersions(t *testing.T) map[string]string {
	t.Helper()
	one, err := pluginDir()
	if err != nil {
		t.Fatal(err)
	}
	two := t.TempDir()
	err = errors.Join(
		os.CopyFS(two, os.DirFS(one)),
		os.WriteFile(filepath.Join(two, "rootfs", versionFile), []byte("2\n"), 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{version1: one, version2: two}
}

func newHostWithoutPlugin(t *testing.T, engine lab.Engine) *host {
	t.Helper()
	l, err := lab.Up(t.Context(), lab.Config{Engines: []lab.Engine{engine}, DockerdArgs: []string{"--init"}})
	if err != nil {
		t.Fatalf("make the lab: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("remove the lab: %v", err)
		}
	})
	h := newHost(t, l, l.Host(1))
	g, ctx := errgroup.WithContext(t.Context())
	g.Go(func() error { return serveOutside(ctx, l) })
	g.Go(func() error {
		return errors.Join(installCommand(ctx, h.Host), h.ImportImages(ctx), warmUp(ctx, h.Host))
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	// The engine makes the folder for its first plugin, and keeps it.
	h.run("mkdir -p /run/docker/plugins")
	return h
}

// startRegistry runs a registry on the host until the test ends.
func (h *host) startRegistry() {
	h.Helper()
	cache, err := lab.CacheDir()
	if err != nil {
		h.Fatal(err)
	}
	program := filepath.Join(cache, "bin", "registry")
	if _, err := os.Stat(program); err != nil {
		h.Fatalf("the registry is not built: run `make registry`: %v", err)
	}
	dir := h.TempDir()
	config := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, registryConfig, filepath.Join(dir, "data"), registryAddress), 0o600); err != nil {
		h.Fatal(err)
	}
	// It has to outlive the test's context, to be stopped in order.
	running, err := h.Start(context.WithoutCancel(h.ctx), program, "serve", config)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		if _, err := running.Stop(); err != nil {
			h.Errorf("stop the registry: %v", err)
		}
	})
	err = lab.Poll(h.ctx, "the registry", func() error {
		_, err := h.Exec(h.ctx, "busybox", "wget", "-q", "-O", "/dev/null", "http://"+registryAddress+"/v2/")
		return err
	})
	if err != nil {
		h.Fatalf("%v: %s", err, running.Output())
	}
}
