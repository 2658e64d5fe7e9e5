package consultest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// configure writes a server's configuration. What is not said here is as in
// production; said is what makes it quick and alone on its address.
func (c *Cluster) configure(s *Server, i int) error {
	peers := make([]string, 0, len(c.opts.Addresses))
	for _, addr := range c.opts.Addresses {
		peers = append(peers, addr.String())
	}
	ports := map[string]int{
		"http": portHTTP, "https": -1, "grpc": -1, "grpc_tls": -1, "dns": -1,
		"server": portRPC, "serf_lan": portSerf, "serf_wan": -1,
	}
	conf := map[string]any{
		"server":           true,
		"bootstrap_expect": len(peers),
		"node_name":        fmt.Sprintf("server%d", i),
		"data_dir":         filepath.Join(s.dir, "data"),
		"bind_addr":        s.addr.String(),
		"client_addr":      s.addr.String(),
		"retry_join":       peers,
		"retry_interval":   "200ms",
		"ports":            ports,
		"log_level":        "info",
		// Elections within about a second, where the default takes five.
		"performance":          map[string]any{"raft_multiplier": 1, "leave_drain_time": "0s"},
		"gossip_lan":           map[string]any{"gossip_interval": "50ms", "probe_interval": "500ms", "probe_timeout": "200ms"},
		"session_ttl_min":      "1s",
		"connect":              map[string]any{"enabled": false},
		"disable_update_check": true,
		"peering":              map[string]any{"enabled": false},
	}
	if len(peers) == 1 {
		delete(conf, "retry_join")
	}
	if c.opts.Steady {
		delete(conf, "gossip_lan")
		conf["performance"] = map[string]any{"raft_multiplier": 5, "leave_drain_time": "0s"}
	}
	if c.opts.Connections > 0 {
		conf["limits"] = map[string]any{"http_max_conns_per_client": c.opts.Connections}
	}
	if c.opts.ACL {
		conf["acl"] = map[string]any{
			"enabled":        true,
			"default_policy": "deny",
			"tokens":         map[string]any{"initial_management": Token, "agent": Token},
		}
	}
	if c.opts.TLS {
		ports["http"], ports["https"] = -1, portHTTP
		conf["tls"] = map[string]any{"defaults": map[string]any{
			"ca_file": c.CAFile, "cert_file": c.CertFile, "key_file": c.KeyFile,
			"verify_incoming": true, "verify_outgoing": true,
		}}
	}
	raw, err := json.MarshalIndent(conf, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, "config.json"), raw, 0o600)
}
