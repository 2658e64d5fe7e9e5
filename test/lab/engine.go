package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Engine is a release of Docker Engine, as it is called in the cache folder, and
// behind a hyphen the firewall backend, where it is not the usual one.
type Engine string

// The engines that ournet is tested with.
const (
	// Engine2010 is that of Debian 12.
	Engine2010 Engine = "20.10"
	// Engine29 is today's.
	Engine29 Engine = "29"
	// Engine29NFT is today's with its rules in nftables instead of iptables.
	Engine29NFT Engine = "29-nftables"
)

// Engines returns all engines, oldest first, each with its usual backend.
func Engines() []Engine { return []Engine{Engine2010, Engine29} }

// Backends returns all engines with each firewall backend that they have.
func Backends() []Engine { return append(Engines(), Engine29NFT) }

// split returns the release and the firewall backend, "" for the usual one.
func (e Engine) split() (release, backend string) {
	release, backend, _ = strings.Cut(string(e), "-")
	return release, backend
}

// bin returns the folder of the engine's programs.
func (e Engine) bin(cache string) string {
	release, _ := e.split()
	return filepath.Join(cache, "engine-"+release, "bin")
}

// args returns what the engine is started with because of its backend.
func (e Engine) args() []string {
	if _, backend := e.split(); backend != "" {
		return []string{"--firewall-backend=" + backend}
	}
	return nil
}

// forward reports whether its host must forward packets before it starts: with
// nftables the engine leaves that to the administrator, and refuses to make bridge
// networks until it is done (moby daemon/libnetwork/drivers/bridge,
// checkIPv4Forwarding).
func (e Engine) forward() bool {
	_, backend := e.split()
	return backend == "nftables"
}

// check reports which of the engine's programs are missing.
func (e Engine) check(cache string) error {
	var missing []string
	for _, name := range []string{"dockerd", "docker", "docker-init", "docker-proxy", "containerd", "containerd-shim-runc-v2", "runc"} {
		if _, err := os.Stat(filepath.Join(e.bin(cache), name)); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("engine %s lacks %s in %s: run `make engines`", e, strings.Join(missing, ", "), e.bin(cache))
	}
	return nil
}
