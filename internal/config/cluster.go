package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The settings of the cluster; their names are those of the engine's own former
// flags, --cluster-store, --cluster-store-opt and --cluster-advertise.
const (
	EnvClusterStore     = "CLUSTER_STORE"
	EnvClusterStoreOpts = "CLUSTER_STORE_OPTS"
	EnvClusterAdvertise = "CLUSTER_ADVERTISE"
	EnvVXLANPort        = "VXLAN_PORT"
	EnvPropagate        = "PROPAGATE"
)

// consulEnv are Consul's own variables, which fill in what [EnvClusterStoreOpts]
// leaves open (https://developer.hashicorp.com/consul/commands, "Environment
// variables"). A test holds them to those that internal/store/consul asks for.
func consulEnv() []string {
	return []string{
		"CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE", "CONSUL_HTTP_AUTH", "CONSUL_HTTP_SSL", "CONSUL_HTTP_SSL_VERIFY",
		"CONSUL_CACERT", "CONSUL_CAPATH", "CONSUL_CLIENT_CERT", "CONSUL_CLIENT_KEY", "CONSUL_TLS_SERVER_NAME",
	}
}

// Cluster is how the host takes part in a cluster.
//
// A mistake in it must not keep the plugin from serving: the networks of this host
// have nothing to do with the cluster, and the engine would end a plugin that does
// not serve. So it is told in Err, and said to whoever wants something of the cluster.
type Cluster struct {
	// Store is where the cluster store is, "consul://host:8500[,host:8500]/prefix",
	// as the user wrote it; "" means that there is no cluster.
	Store string
	// StoreOpts are its options, "kv.cacertfile=…,kv.tokenfile=…".
	StoreOpts string
	// Advertise is the host's address for packets between hosts, or a device or subnet
	// that has it; "" means the one that the cluster store sees.
	Advertise string
	// VXLANPort is the UDP port of those packets, the same on all hosts.
	VXLANPort uint16
	// Propagate makes and removes here the networks that are made and removed on
	// other hosts.
	Propagate bool
	// Consul has those of Consul's own variables that are set.
	Consul map[string]string
	// Err tells of every setting of the cluster that cannot be read.
	Err error
}

// Getenv returns one of Consul's own variables.
func (c Cluster) Getenv(name string) string { return c.Consul[name] }

// clusterSetting is one environment variable of the cluster.
type clusterSetting struct {
	env string
	set func(c *Cluster, value string) error
}

func clusterSettings() []clusterSetting {
	text := func(field func(c *Cluster) *string) func(*Cluster, string) error {
		return func(c *Cluster, value string) error {
			*field(c) = value
			return nil
		}
	}
	return []clusterSetting{
		{EnvClusterStore, text(func(c *Cluster) *string { return &c.Store })},
		{EnvClusterStoreOpts, text(func(c *Cluster) *string { return &c.StoreOpts })},
		{EnvClusterAdvertise, text(func(c *Cluster) *string { return &c.Advertise })},
		{EnvVXLANPort, setVXLANPort},
		{EnvPropagate, setPropagate},
	}
}

// load changes the defaults by the environment.
func (c *Cluster) load(getenv func(string) string) {
	var errs []error
	for _, s := range clusterSettings() {
		value := strings.TrimSpace(getenv(s.env))
		if value == "" {
			continue
		}
		if err := s.set(c, value); err != nil {
			errs = append(errs, fmt.Errorf("settings: %s=%q: %w", s.env, value, err))
		}
	}
	for _, name := range consulEnv() {
		if value := strings.TrimSpace(getenv(name)); value != "" {
			if c.Consul == nil {
				c.Consul = make(map[string]string)
			}
			c.Consul[name] = value
		}
	}
	c.Err = errors.Join(errs...)
}

func setVXLANPort(c *Cluster, value string) error {
	port, err := strconv.ParseUint(value, 10, 16)
	if err != nil || port == 0 {
		return errors.New("want a UDP port, 1 to 65535, the same on all hosts")
	}
	c.VXLANPort = uint16(port)
	return nil
}

func setPropagate(c *Cluster, value string) error {
	on, err := strconv.ParseBool(value)
	if err != nil {
		return errors.New("want true or false")
	}
	c.Propagate = on
	return nil
}
