package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/config"
	"github.com/ournet/ournet/internal/store/consul"
)

func env(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func TestLoad_emptyEnvironmentGivesTheDefaults(t *testing.T) {
	t.Parallel()
	got, err := config.Load(env(nil))
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	if diff := cmp.Diff(config.Defaults(), got); diff != "" {
		t.Errorf("Load of an empty environment differs from the defaults (-want +got):\n%s", diff)
	}
}

func TestLoad_takesEverySetting(t *testing.T) {
	t.Parallel()
	want := config.Defaults()
	want.Name = "lab-2"
	want.DefaultAddressPools = "base=10.0.0.0/8,size=24"
	want.DNSTTL = 2 * time.Minute
	want.LogLevel = logrus.DebugLevel
	want.Cluster = config.Cluster{
		Store: "consul://10.0.0.1:8500/lab", StoreOpts: "kv.tokenfile=/etc/ournet/token", Advertise: "eth1",
		VXLANPort: 8472, Consul: map[string]string{"CONSUL_HTTP_TOKEN": "secret"},
	}
	got, err := config.Load(env(map[string]string{
		"NAME":                  " lab-2 ",
		"DEFAULT_ADDRESS_POOLS": "base=10.0.0.0/8,size=24",
		"DNS_TTL":               "2m",
		"LOG_LEVEL":             "debug",
		"CLUSTER_STORE":         "consul://10.0.0.1:8500/lab",
		"CLUSTER_STORE_OPTS":    "kv.tokenfile=/etc/ournet/token",
		"CLUSTER_ADVERTISE":     "eth1",
		"VXLAN_PORT":            "8472",
		"PROPAGATE":             "false",
		"CONSUL_HTTP_TOKEN":     "secret",
	}))
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
}

func TestLoad_unusableNameIsRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"../x", "a/b", ".hidden", "-d", "UPPER", "a b", "ünet", "a:latest", strings.Repeat("a", 14)} {
		if _, err := config.Load(env(map[string]string{"NAME": name})); err == nil {
			t.Errorf("Load with NAME=%q succeeded, want an error", name)
		}
	}
}

func TestLoad_reportsAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := config.Load(env(map[string]string{"NAME": "a/b", "LOG_LEVEL": "loud"}))
	if err == nil {
		t.Fatal("Load succeeded, want an error")
	}
	for _, part := range []string{"NAME", "LOG_LEVEL"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not mention %s", err, part)
		}
	}
}

// A plugin with a mistake here has to serve the networks of its host all the same.
func TestLoad_mistakesInTheClustersSettingsAreToldAside(t *testing.T) {
	t.Parallel()
	got, err := config.Load(env(map[string]string{"VXLAN_PORT": "70000", "PROPAGATE": "perhaps", "CLUSTER_ADVERTISE": "eth1"}))
	if err != nil {
		t.Fatalf("Load = %v, want it to succeed", err)
	}
	for _, part := range []string{`VXLAN_PORT="70000": want a UDP port`, `PROPAGATE="perhaps": want true or false`} {
		if got.Cluster.Err == nil || !strings.Contains(got.Cluster.Err.Error(), part) {
			t.Errorf("Cluster.Err = %v, want it to say %s", got.Cluster.Err, part)
		}
	}
	if got.Cluster.Advertise != "eth1" {
		t.Errorf("Cluster.Advertise = %q, want eth1", got.Cluster.Advertise)
	}
}

// What Consul's own variables say reaches the plugin only if it is listed.
func TestEnv_hasWhatTheClusterStoreAsksFor(t *testing.T) {
	t.Parallel()
	known := config.Env()
	_, err := consul.Parse("consul://localhost", "", func(name string) string {
		if !slices.Contains(known, name) {
			t.Errorf("the cluster store asks for %s, which is not listed", name)
		}
		known = slices.DeleteFunc(known, func(n string) bool { return n == name })
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range known {
		if strings.HasPrefix(name, "CONSUL_") {
			t.Errorf("%s is listed, but the cluster store does not ask for it", name)
		}
	}
}

// The engine passes a variable on to the plugin, and lets it be set, only if
// config.json lists it.
func TestEnv_isWhatConfigJSONLists(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("..", "..", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Env []struct {
			Name     string
			Value    *string
			Settable []string
		}
	}
	if err := json.Unmarshal(raw, &manifest); err != nil {
		t.Fatalf("config.json: %v", err)
	}
	values := make(map[string]string)
	var names []string
	for _, e := range manifest.Env {
		names = append(names, e.Name)
		if !slices.Contains(e.Settable, "value") {
			t.Errorf("config.json: %s is not settable", e.Name)
		}
		if e.Value != nil {
			values[e.Name] = *e.Value
		}
	}
	want := config.Env()
	slices.Sort(names)
	slices.Sort(want)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("environment in config.json differs from the code (-code +config.json):\n%s", diff)
	}
	got, err := config.Load(env(values))
	if err != nil {
		t.Fatalf("Load of config.json's values: %v", err)
	}
	if diff := cmp.Diff(config.Defaults(), got); diff != "" {
		t.Errorf("config.json's values are not the defaults (-code +config.json):\n%s", diff)
	}
}
