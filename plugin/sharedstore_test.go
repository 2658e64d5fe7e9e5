package plugin

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/config"
	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
)

// clusterSettings reads settings of a cluster as the plugin does.
func clusterSettings(t *testing.T, env map[string]string) config.Cluster {
	t.Helper()
	cfg, err := config.Load(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Cluster
}

func TestOpenShared_mistakesAreOneLineThatSaysWhatToSet(t *testing.T) {
	t.Parallel()
	host := hostfs.New(t.TempDir())
	for _, tc := range []struct {
		name, says string
		env        map[string]string
	}{
		{"another store", "want consul://host:8500", map[string]string{"CLUSTER_STORE": "etcd://a"}},
		{"unknown option", "kv.tokenfile", map[string]string{"CLUSTER_STORE": "consul://a", "CLUSTER_STORE_OPTS": "kv.token=x"}},
		{"no such token", "kv.tokenfile=/etc/token: no such file", map[string]string{"CLUSTER_STORE": "consul://a", "CLUSTER_STORE_OPTS": "kv.tokenfile=/etc/token"}},
		{"no such certificates", "kv.certfile=/etc/c", map[string]string{
			"CLUSTER_STORE": "consul://a", "CLUSTER_STORE_OPTS": "kv.certfile=/etc/c,kv.keyfile=/etc/k,kv.cacertfile=/etc/ca",
		}},
		{"port that is none", "VXLAN_PORT", map[string]string{"CLUSTER_STORE": "consul://a", "VXLAN_PORT": "x"}},
		{"several", "PROPAGATE", map[string]string{"CLUSTER_STORE": "consul://a", "VXLAN_PORT": "x", "PROPAGATE": "y"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := openShared(discard(), clusterSettings(t, tc.env), host)
			if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("openShared = %v, want one line that says %q", err, tc.says)
			}
		})
	}
}

func TestOpenShared_filesAreTheHosts(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc", "token"), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	shared, addresses, err := openShared(discard(), clusterSettings(t, map[string]string{
		"CLUSTER_STORE": "consul://10.0.0.1,10.0.0.2:8501/lab", "CLUSTER_STORE_OPTS": "kv.tokenfile=/etc/token",
	}), hostfs.New(root))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := shared.Close(); err != nil {
			t.Error(err)
		}
	}()
	if strings.Join(addresses, " ") != "10.0.0.1:8500 10.0.0.2:8501" {
		t.Errorf("addresses = %v", addresses)
	}
}

// closable is a store that can be closed.
type closable struct{ *memstore.Store }

func (closable) Close() error { return nil }

func TestGate_saysWhyItIsShut(t *testing.T) {
	t.Parallel()
	g := &gate{store: closable{memstore.New()}, why: errNoCluster}
	ask := func() []error {
		_, gerr := g.Get(t.Context(), "k")
		_, _, lerr := g.List(t.Context(), "k", 0)
		_, aerr := g.Apply(t.Context(), store.Set("l", nil))
		_, serr := g.Lease(t.Context(), store.LeaseOptions{TTL: time.Minute})
		return []error{gerr, lerr, aerr, serr, g.Revoke(t.Context(), "l")}
	}
	for _, err := range ask() {
		if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, store.ErrSetup) || !errors.Is(err, errNoCluster) {
			t.Errorf("error = %v, want that the store is unavailable, and why", err)
		}
		if err.Error() != errNoCluster.Error() {
			t.Errorf("error %q says more than what is to be set", err)
		}
	}
	g.open()
	for _, err := range ask() {
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("error = %v when it is open", err)
		}
	}
	if err := errors.Join(g.Close(), (&gate{why: errNoCluster}).Close()); err != nil {
		t.Error(err)
	}
}
