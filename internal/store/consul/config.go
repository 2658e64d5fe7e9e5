package consul

import (
	"errors"
	"fmt"
	"net"
	"path"
	"strconv"
	"strings"
	"time"
)

const (
	defaultPort   = "8500"
	defaultPrefix = "ournet"
)

// Config says where Consul is and how to speak to it.
type Config struct {
	// Addresses are Consul's agents or servers, each host:port. One that works is
	// kept until it does not.
	Addresses []string
	// Prefix is the folder in Consul's keys that all of ours are in.
	Prefix string

	// HTTPS asks for TLS. CAFile, CAPath, CertFile and KeyFile are PEM files;
	// without a CA the system's are used.
	HTTPS             bool
	CAFile, CAPath    string
	CertFile, KeyFile string
	// ServerName is what a server's certificate has to be for, if not the host of
	// its address.
	ServerName string
	// SkipVerify takes any certificate.
	SkipVerify bool

	// TokenFile has the ACL token and is read again when it changes; without it,
	// Token is used.
	TokenFile, Token string
	// User and Password are for a proxy in front of Consul.
	User, Password string

	// Call bounds a call, with all its attempts, if its context does not.
	Call time.Duration
	// Attempt is how long a server may take to answer what needs no waiting.
	Attempt time.Duration
	// Wait is how long a server is asked to wait for a change.
	Wait time.Duration
	// Pulse is how often a server that is waited for is asked whether it lives.
	Pulse time.Duration
}

// Defaults returns the times that suit a Consul in production.
func Defaults() Config {
	return Config{
		Prefix: defaultPrefix,
		// A new leader is elected within some seconds.
		Call:    10 * time.Second,
		Attempt: 2 * time.Second,
		Wait:    time.Minute,
		Pulse:   5 * time.Second,
	}
}

// Parse reads CLUSTER_STORE, "consul://host:8500[,host:8500]/prefix", and
// CLUSTER_STORE_OPTS, "kv.cacertfile=…,kv.certfile=…,kv.keyfile=…,kv.tokenfile=…",
// as Docker's own cluster store had them. What they leave open is taken from
// Consul's own environment variables (https://developer.hashicorp.com/consul/commands,
// "Environment variables"). Its error tells of every problem at once.
func Parse(address, opts string, getenv func(string) string) (Config, error) {
	cfg := Defaults()
	errs := []error{cfg.setEnv(getenv), cfg.setAddress(address), cfg.setOpts(opts)}
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	return cfg, cfg.validate()
}

func (cfg *Config) setAddress(address string) error {
	rest, ok := strings.CutPrefix(address, "consul://")
	if !ok {
		return fmt.Errorf("cluster store %q: want consul://host:8500[,host:8500]/prefix", address)
	}
	hosts, prefix, _ := strings.Cut(rest, "/")
	if prefix = strings.TrimSuffix(prefix, "/"); prefix != "" {
		cfg.Prefix = prefix
	}
	var errs []error
	for host := range strings.SplitSeq(hosts, ",") {
		addr, err := parseHost(strings.TrimSpace(host))
		if err != nil {
			errs = append(errs, fmt.Errorf("cluster store %q: %w", address, err))
			continue
		}
		cfg.Addresses = append(cfg.Addresses, addr)
	}
	return errors.Join(errs...)
}

// parseHost adds the port if there is none.
func parseHost(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"), defaultPort
		if strings.Contains(host, ":") && !strings.HasPrefix(text, "[") {
			return "", fmt.Errorf("address %q: write an IPv6 address in brackets", text)
		}
	}
	if host == "" || strings.ContainsAny(host, " @[]?#%") {
		return "", fmt.Errorf("address %q has no host", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("address %q: port %q is none", text, port)
	}
	return net.JoinHostPort(host, port), nil
}

func (cfg *Config) setOpts(opts string) error {
	var errs []error
	for opt := range strings.SplitSeq(opts, ",") {
		if opt = strings.TrimSpace(opt); opt == "" {
			continue
		}
		key, value, ok := strings.Cut(opt, "=")
		if !ok || value == "" {
			errs = append(errs, fmt.Errorf("cluster store option %q: want key=value", opt))
			continue
		}
		switch key {
		case "kv.cacertfile":
			cfg.CAFile, cfg.HTTPS = value, true
		case "kv.certfile":
			cfg.CertFile, cfg.HTTPS = value, true
		case "kv.keyfile":
			cfg.KeyFile, cfg.HTTPS = value, true
		case "kv.tokenfile":
			cfg.TokenFile = value
		default:
			errs = append(errs, fmt.Errorf("cluster store option %q is not known: "+
				"there are kv.cacertfile, kv.certfile, kv.keyfile and kv.tokenfile", key))
		}
	}
	return errors.Join(errs...)
}

func (cfg *Config) setEnv(getenv func(string) string) error {
	var errs []error
	flag := func(name string, otherwise bool) bool {
		text := getenv(name)
		if text == "" {
			return otherwise
		}
		value, err := strconv.ParseBool(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s=%q: want true or false", name, text))
		}
		return value
	}
	cfg.HTTPS = flag("CONSUL_HTTP_SSL", false)
	cfg.SkipVerify = !flag("CONSUL_HTTP_SSL_VERIFY", true)
	cfg.Token = getenv("CONSUL_HTTP_TOKEN")
	cfg.TokenFile = getenv("CONSUL_HTTP_TOKEN_FILE")
	cfg.User, cfg.Password, _ = strings.Cut(getenv("CONSUL_HTTP_AUTH"), ":")
	cfg.CAFile = getenv("CONSUL_CACERT")
	cfg.CAPath = getenv("CONSUL_CAPATH")
	cfg.CertFile = getenv("CONSUL_CLIENT_CERT")
	cfg.KeyFile = getenv("CONSUL_CLIENT_KEY")
	cfg.ServerName = getenv("CONSUL_TLS_SERVER_NAME")
	return errors.Join(errs...)
}

// validate reports all that can be known to be wrong without asking anybody.
func (cfg *Config) validate() error {
	var errs []error
	if len(cfg.Addresses) == 0 {
		errs = append(errs, errors.New("cluster store: there is no address"))
	}
	if p := cfg.Prefix; p == "" || path.Clean("/"+p) != "/"+p || strings.ContainsAny(p, " ?#%") {
		errs = append(errs, fmt.Errorf("cluster store: prefix %q: want steps with single slashes between them", p))
	}
	if (cfg.CertFile == "") != (cfg.KeyFile == "") {
		errs = append(errs, errors.New("cluster store: a client certificate needs both kv.certfile and kv.keyfile"))
	}
	if cfg.Call <= 0 || cfg.Attempt <= 0 || cfg.Wait <= 0 || cfg.Pulse <= 0 {
		errs = append(errs, errors.New("cluster store: a time limit is not set"))
	}
	return errors.Join(errs...)
}
