package hostfs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ournet/ournet/internal/hostfs"
)

func TestFollow_leadsWhereTheHostWouldGo(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, dir := range []string{"etc/ssl/certs", "usr/share/ca", "etc/letsencrypt/archive"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"usr/share/ca/one.pem", "etc/letsencrypt/archive/two.pem", "etc/three.pem"} {
		if err := os.WriteFile(filepath.Join(root, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"etc/ssl/certs/one.pem": "/usr/share/ca/one.pem",
		"etc/letsencrypt/live":  "archive",
		"etc/ssl/certs/up.pem":  "../../../../../../etc/three.pem", // no way out of the root
		"pki":                   "/etc/ssl/certs",
		"loop":                  "/loop",
		"away":                  "/etc/gone.pem",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	host := hostfs.New(root)
	for path, want := range map[string]string{
		"/etc/three.pem":                "etc/three.pem",
		"/etc/ssl/certs/one.pem":        "usr/share/ca/one.pem",
		"/pki/one.pem":                  "usr/share/ca/one.pem",
		"/etc/letsencrypt/live/two.pem": "etc/letsencrypt/archive/two.pem",
		"/etc/ssl/certs/up.pem":         "etc/three.pem",
		"/etc/../etc//three.pem":        "etc/three.pem",
	} {
		if got, err := host.Follow(path); err != nil || got != filepath.Join(root, want) {
			t.Errorf("Follow(%s) = %s, %v, want %s below the root", path, got, err, want)
		}
	}
	for _, path := range []string{"/away", "/etc/ssl/none/x.pem"} {
		if got, err := host.Follow(path); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), path+":") || strings.Contains(err.Error(), root) {
			t.Errorf("Follow(%s) = %s, %v, want that the host has no such file, by the host's path", path, got, err)
		}
	}
	for _, path := range []string{"/loop", "etc/three.pem", ""} {
		if got, err := host.Follow(path); err == nil {
			t.Errorf("Follow(%q) = %s, want an error", path, got)
		}
	}
}
