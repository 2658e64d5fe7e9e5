package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/config"
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
	want.LogLevel = logrus.DebugLevel
	got, err := config.Load(env(map[string]string{
		"NAME":                  " lab-2 ",
		"DEFAULT_ADDRESS_POOLS": "base=10.0.0.0/8,size=24",
		"LOG_LEVEL":             "debug",
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
