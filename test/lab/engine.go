package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Engine is a release of Docker Engine, as it is called in the cache folder.
type Engine string

// The engines that ournet is tested with.
const (
	// Engine2010 is that of Debian 12.
	Engine2010 Engine = "20.10"
	// Engine29 is today's.
	Engine29 Engine = "29"
)

// Engines returns all engines, oldest first.
func Engines() []Engine { return []Engine{Engine2010, Engine29} }

// bin returns the folder of the engine's programs.
func (e Engine) bin(cache string) string {
	return filepath.Join(cache, "engine-"+string(e), "bin")
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
