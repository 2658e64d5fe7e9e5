package hostfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/netnstest"
)

func TestPath_mapsIntoTheHostsRoot(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ root, in, want string }{
		{"/proc/1/root", "/run/docker.sock", "/proc/1/root/run/docker.sock"},
		{"/proc/1/root", "/var/run/docker/netns/0123456789ab", "/proc/1/root/run/docker/netns/0123456789ab"},
		{"/proc/1/root", "/var/run", "/proc/1/root/run"},
		{"/proc/1/root", "/var/runner/x", "/proc/1/root/var/runner/x"},
		{"/proc/1/root", "/var/../var/run/x", "/proc/1/root/run/x"},
		{"/proc/1/root", "../../etc/passwd", "/proc/1/root/etc/passwd"},
		{"/", "/var/run/x", "/run/x"},
		{"/", "/etc/hostname", "/etc/hostname"},
	} {
		t.Run(tc.root+" "+tc.in, func(t *testing.T) {
			t.Parallel()
			if got := hostfs.New(tc.root).Path(tc.in); got != tc.want {
				t.Errorf("Path(%q) = %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

func TestSetSysctl_keyThatLeavesProcSysIsRefused(t *testing.T) {
	t.Parallel()
	f := hostfs.New(t.TempDir())
	for _, key := range []string{"", ".", "..", "../x", "/net/x", "net/../../x", "net//x", "net/"} {
		if err := f.SetSysctl(key, "1"); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("SetSysctl(%q) = %v, want %v", key, err, fs.ErrInvalid)
		}
	}
}

func TestSetSysctl_equalValueIsNotWritten(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "proc/sys/net")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "range")
	if err := os.WriteFile(file, []byte("32768\t60999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := hostfs.New(root)
	if err := f.SetSysctl("net/range", "32768 60999"); err != nil {
		t.Fatal(err)
	}
	// A write without O_TRUNC would have left a mark.
	if got, err := os.ReadFile(file); err != nil || string(got) != "32768\t60999\n" {
		t.Errorf("file = %q, %v; want it untouched", got, err)
	}
}

func TestSysctl_missingIsNotExist(t *testing.T) {
	t.Parallel()
	if _, err := hostfs.New("/").Sysctl("net/ipv4/conf/no-such-device/forwarding"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Sysctl = %v, want %v", err, fs.ErrNotExist)
	}
}

// The plugin goes through another process's root to a writable /proc/sys. Settings
// of the network must then still be those of the plugin's own namespace.
func TestSetSysctl_actsOnTheCallersNamespaceThroughAnyRoot(t *testing.T) {
	t.Parallel()
	other := exec.CommandContext(t.Context(), "sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Wait(); err == nil { // the test's context, done by now, kills it
			t.Error("the other process ended by itself")
		}
	})
	netnstest.Enter(t)
	const key = "net/ipv4/conf/lo/route_localnet"
	host, through := hostfs.New("/"), hostfs.New(fmt.Sprintf("/proc/%d/root", other.Process.Pid))
	if err := through.SetSysctl(key, "1"); err != nil {
		t.Fatal(err)
	}
	if got, err := host.Sysctl(key); err != nil || got != "1" {
		t.Errorf("in the namespace: %q, %v; want 1", got, err)
	}
	done := make(chan string)
	go func() { // another thread, in the namespace of the other process
		v, err := hostfs.New("/").Sysctl(key)
		if err != nil {
			v = err.Error()
		}
		done <- v
	}()
	if got := <-done; got != "0" {
		t.Errorf("outside the namespace: %q, want 0", got)
	}
}
