// Package config is the only reader of the environment. It knows names, defaults
// and forms of the settings, not what is done with them.
package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/ttl"
)

// The environment variables that the plugin reads. Each is listed, settable, in
// config.json as well, so that `docker plugin set` can change it.
const (
	EnvName                = "NAME"
	EnvDefaultAddressPools = "DEFAULT_ADDRESS_POOLS"
	EnvDNSTTL              = "DNS_TTL"
	EnvLogLevel            = "LOG_LEVEL"
)

// maxName is the longest name in bytes: with "OURNET-" and "-FORWARD" it has to fit
// into the 28 of an iptables chain's name (XT_EXTENSION_MAXNAMELEN).
const maxName = 13

// Config is how one plugin process is set up.
type Config struct {
	// Name is what users write after `docker network create -d` and
	// `--ipam-driver`. It names the shared socket, so two plugins on one engine
	// need two names. It has lower-case letters, digits, "-", "_" and "." and
	// begins with a letter or digit.
	Name string
	// DefaultAddressPools are the blocks that networks without --subnet are cut
	// from, as the user wrote them, "base=10.128.0.0/10,size=24;…"; the address
	// manager reads them. Empty means its own default.
	DefaultAddressPools string
	// DNSTTL is how long an answer about a container's name may be kept, where the
	// network does not say otherwise.
	DNSTTL time.Duration
	// LogLevel is the least important level that is logged.
	LogLevel logrus.Level
	// Cluster is how the host takes part in a cluster, if it does.
	Cluster Cluster

	// StateDir is where records are kept. It is in the propagated mount, which
	// an upgrade of the plugin leaves alone; the rest of its root does not stay.
	StateDir string
	// ManagedSocket is where the engine looks for the plugin that it runs itself,
	// given in config.json as "interface.socket".
	ManagedSocket string
	// SharedSocketDir is the host's /run/docker/plugins, where every engine
	// looks for plugins by name.
	SharedSocketDir string
	// HostRoot leads to the host's root folder as the engine sees it now. A bind
	// mount would show what was there when the plugin was started.
	HostRoot string
}

// Defaults returns the settings of a plugin that nobody has set up. They stand
// in the code and not in config.json alone, because an upgrade keeps the
// environment of the version before.
func Defaults() Config {
	return Config{
		Name:            "ournet",
		DNSTTL:          ttl.Default,
		LogLevel:        logrus.InfoLevel,
		Cluster:         Cluster{VXLANPort: 4789, Propagate: true},
		StateDir:        "/var/lib/ournet",
		ManagedSocket:   "/run/docker/plugins/ournet.sock",
		SharedSocketDir: "/run/ournet/plugins",
		HostRoot:        "/proc/1/root",
	}
}

// Load returns the defaults changed by the environment; a variable that is empty
// counts as not set. Its error tells of every setting that cannot be used, but for
// those of the cluster, which are in [Cluster.Err].
func Load(getenv func(string) string) (Config, error) {
	cfg := Defaults()
	var errs []error
	for _, s := range settings() {
		value := strings.TrimSpace(getenv(s.env))
		if value == "" {
			continue
		}
		if err := s.set(&cfg, value); err != nil {
			errs = append(errs, fmt.Errorf("%s=%q: %w", s.env, value, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Config{}, fmt.Errorf("settings: %w", err)
	}
	cfg.Cluster.load(getenv)
	return cfg, nil
}

// Env returns the names of all environment variables that [Load] reads.
func Env() []string {
	names := make([]string, 0, len(settings()))
	for _, s := range settings() {
		names = append(names, s.env)
	}
	for _, s := range clusterSettings() {
		names = append(names, s.env)
	}
	return append(names, consulEnv()...)
}

// setting is one environment variable.
type setting struct {
	env string
	set func(cfg *Config, value string) error
}

// settings is the one list of them.
func settings() []setting {
	return []setting{
		{EnvName, setName},
		{EnvDefaultAddressPools, func(cfg *Config, value string) error {
			cfg.DefaultAddressPools = value
			return nil
		}},
		{EnvDNSTTL, func(cfg *Config, value string) (err error) {
			cfg.DNSTTL, err = ttl.Parse(value)
			return err
		}},
		{EnvLogLevel, setLogLevel},
	}
}

func setName(cfg *Config, value string) error {
	if err := CheckName(value); err != nil {
		return err
	}
	cfg.Name = value
	return nil
}

// CheckName reports why a plugin cannot have that NAME.
func CheckName(name string) error {
	if name == "" {
		return errors.New("want a name")
	}
	if len(name) > maxName {
		return fmt.Errorf("longer than %d characters", maxName)
	}
	for i, c := range name {
		alphanumeric := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alphanumeric && (i == 0 || !strings.ContainsRune("-_.", c)) {
			return errors.New(`want lower-case letters, digits, "-", "_" and ".", beginning with a letter or digit`)
		}
	}
	return nil
}

func setLogLevel(cfg *Config, value string) error {
	level, err := logrus.ParseLevel(value)
	if err != nil || level < logrus.ErrorLevel {
		return errors.New("want error, warn, info, debug or trace")
	}
	cfg.LogLevel = level
	return nil
}
