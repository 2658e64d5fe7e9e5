package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Logf takes one line of progress, without a newline at its end.
type Logf func(format string, args ...any)

// Config says what lab to make. The zero value of each field but Engines is useful.
type Config struct {
	// Engines has one entry per host: the engine that it runs. At most 200.
	Engines []Engine
	// CacheDir holds engine-<version>/bin; "" means what [CacheDir] returns.
	CacheDir string
	// Dir is where the lab's folder is made; "" means the system's temporary
	// folder. It must be short: a socket's path has at most 107 bytes.
	Dir string
	// Forward starts the hosts with forwarding on, as on a host that was set up
	// for it. With false, as on a fresh machine, the engine turns it on itself
	// and drops what nobody accepts.
	Forward bool
	// MTU is that of the underlay, in bytes; 0 means 1500.
	MTU int
	// DockerdArgs are further arguments of every host's engine. With "--init" a
	// container whose command ignores SIGTERM, like sleep, stops at once.
	DockerdArgs []string
	// Keep lets the lab outlive this process; it is removed by [Lab.Down] of a
	// later [Open] only.
	Keep bool
	// Log takes the lines of progress; nil means none.
	Log Logf
}

const (
	// downTimeout bounds the removal of a lab that could not be started.
	downTimeout = 30 * time.Second
	// pollEvery is how often a condition is looked at that cannot be waited on.
	pollEvery = 10 * time.Millisecond
	// maxHosts keeps the hosts' addresses below the outside's.
	maxHosts = 200
	// maxDir leaves room in a socket's path (unix(7): 108 bytes with the final
	// zero) for the lab's and the host's folder.
	maxDir = 64
)

func (c Config) withDefaults() (Config, error) {
	if len(c.Engines) == 0 || len(c.Engines) > maxHosts {
		return c, fmt.Errorf("a lab has 1 to %d hosts, not %d", maxHosts, len(c.Engines))
	}
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	if c.MTU == 0 {
		c.MTU = 1500
	}
	if c.Dir == "" {
		c.Dir = os.TempDir()
	}
	if len(c.Dir) > maxDir {
		return c, fmt.Errorf("the lab's folder %q is too long for the path of a socket: at most %d bytes", c.Dir, maxDir)
	}
	var err error
	if c.CacheDir == "" {
		if c.CacheDir, err = CacheDir(); err != nil {
			return c, err
		}
	}
	for _, e := range c.Engines {
		if err := e.check(c.CacheDir); err != nil {
			return c, err
		}
	}
	return c, nil
}

// CacheDir returns the folder of the engines and tools: the environment's
// OURNET_CACHE, or .cache of the repository that the working directory is in.
func CacheDir() (string, error) { return repositoryDir("OURNET_CACHE", ".cache") }

// BuildDir returns the folder of what is built: the environment's OURNET_BUILD, or
// build of the repository that the working directory is in.
func BuildDir() (string, error) { return repositoryDir("OURNET_BUILD", "build") }

func repositoryDir(env, name string) (string, error) {
	if dir := os.Getenv(env); dir != "" {
		return filepath.Abs(dir)
	}
	root, err := repositoryRoot()
	if err != nil {
		return "", fmt.Errorf("%w; set %s", err, env)
	}
	return filepath.Join(root, name), nil
}

// repositoryRoot returns the nearest folder upwards that has both a go.mod and a
// config.json or test/lab: tools have modules of their own, which are not it.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		_, module := os.Stat(filepath.Join(dir, "go.mod"))
		_, tests := os.Stat(filepath.Join(dir, "test", "lab"))
		if module == nil && tests == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("the working directory is not in the repository")
		}
	}
}
