// Package hostfs reads and writes the host's files and sysctls as a managed
// plugin sees them.
//
// A managed plugin has a root of its own, in which /proc/sys is read-only. With
// the host's pid namespace, /proc/1/root is the host's root, so everything of the
// host is reached below it. The package knows how paths are mapped, and nothing of
// what is in the files.
package hostfs

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// FS is a host's file system. The zero value is not useful; see [New].
type FS struct {
	root string
}

// New returns the file system below root: "/proc/1/root" in the plugin, "/" in
// a process that runs on the host itself.
func New(root string) FS { return FS{root: path.Clean(root)} }

// Path maps a path of the host to one that this process can open.
//
// /var/run becomes /run: on every current distribution it is an absolute symbolic
// link to /run, and the kernel would follow it in this process's own root instead
// of the host's. Other absolute links on the way have the same fault; the paths
// that the engine gives have none.
func (f FS) Path(p string) string {
	p = path.Clean("/" + p)
	if rest, ok := strings.CutPrefix(p, "/var/run"); ok && (rest == "" || rest[0] == '/') {
		p = "/run" + rest
	}
	return path.Join(f.root, p)
}

// Sysctl returns the value of a kernel setting without its final newline. The key
// is the path below /proc/sys, "net/ipv4/conf/on-0123/route_localnet"; dots are
// ordinary characters, since a device's name may have them.
//
// A setting of the network acts on the network namespace of the calling thread,
// whatever root the path goes through (net_ctl_root_lookup in net/sysctl_net.c
// asks `current`). The plugin runs in the host's namespace, so there it is the host's.
//
// A setting that the kernel does not have is an error that wraps [fs.ErrNotExist].
func (f FS) Sysctl(key string) (string, error) {
	name, err := f.sysctlPath(key)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("read sysctl %s: %w", key, err)
	}
	return strings.TrimSuffix(string(b), "\n"), nil
}

// SetSysctl sets a kernel setting, and writes only when the value differs: some
// settings act when they are written even if nothing changes (disable_ipv6 takes
// the device's addresses away). The key is as for [FS.Sysctl].
func (f FS) SetSysctl(key, value string) error {
	have, err := f.Sysctl(key)
	if err != nil {
		return err
	}
	// The kernel answers lists with tabs between the numbers, whatever was written.
	if strings.Join(strings.Fields(have), " ") == strings.Join(strings.Fields(value), " ") {
		return nil
	}
	name, err := f.sysctlPath(key)
	if err != nil {
		return err
	}
	// Neither O_CREATE nor O_TRUNC: both are refused or meaningless in /proc/sys.
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set sysctl %s=%s: %w", key, value, err)
	}
	_, err = file.WriteString(value)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("set sysctl %s=%s: %w", key, value, err)
	}
	return nil
}

// sysctlPath refuses keys that would leave /proc/sys.
func (f FS) sysctlPath(key string) (string, error) {
	if !filepath.IsLocal(key) || path.Clean(key) != key || key == "." {
		return "", fmt.Errorf("sysctl key %q: %w", key, fs.ErrInvalid)
	}
	return path.Join(f.root, "proc/sys", key), nil
}
