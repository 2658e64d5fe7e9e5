package upstream

import (
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/hostfs"
)

func TestParse_asTheCLibraryDoes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"one", "nameserver 192.0.2.1\n", []string{"192.0.2.1:53"}},
		{"no end of line", "search example\nnameserver 192.0.2.1", []string{"192.0.2.1:53"}},
		{"stub", "# by systemd-resolved\nnameserver 127.0.0.53\noptions edns0 trust-ad\n", []string{"127.0.0.53:53"}},
		{"both families", "nameserver\t2001:db8::1\nnameserver fe80::1%eth0 # the router\n", []string{"[2001:db8::1]:53", "[fe80::1%eth0]:53"}},
		{
			"more than are asked", "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n",
			[]string{"192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53"},
		},
		{"not meant", "#nameserver 192.0.2.1\n;nameserver 192.0.2.2\nnameservers 192.0.2.3\nnameserver\nnameserver server.example\n nameserver 192.0.2.9\n", []string{"192.0.2.9:53"}},
		{"none", "search example\n", []string{"127.0.0.1:53"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, shown(parse(tc.text))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func shown(list []netip.AddrPort) []string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}

// A host whose file is a link, as systemd-resolved and NetworkManager make it, which then
// leads elsewhere, and is gone for a while.
func TestList_followsTheFile(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target string) {
		t.Helper()
		name := filepath.Join(root, "etc/resolv.conf")
		if err := os.RemoveAll(name); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/hostname", "host\n")
	write("run/one/resolv.conf", "nameserver 192.0.2.1\n")
	write("run/two/resolv.conf", "nameserver 192.0.2.2\n")
	synctest.Test(t, func(t *testing.T) {
		log := logrus.New()
		log.SetOutput(io.Discard)
		s := New(log, hostfs.New(root))
		check := func(when, want string) {
			t.Helper()
			if diff := cmp.Diff([]string{want}, shown(s.List())); diff != "" {
				t.Errorf("%s: %s", when, diff)
			}
			time.Sleep(age + 1) //nolint:forbidigo // in a bubble that is no time
		}
		link("/run/one/resolv.conf")
		check("first", "192.0.2.1:53")
		link("../run/two/resolv.conf")
		check("another link", "192.0.2.2:53")
		write("run/two/resolv.conf", "nameserver 192.0.2.3\n")
		check("another text", "192.0.2.3:53")
		link("/run/none")
		check("no file", "192.0.2.3:53")
		link("/run/one/resolv.conf")
		check("back", "192.0.2.1:53")
	})
}

func TestList_isEmptyWhileNothingWasEverRead(t *testing.T) {
	t.Parallel()
	log := logrus.New()
	log.SetOutput(io.Discard)
	if got := New(log, hostfs.New(t.TempDir())).List(); len(got) > 0 {
		t.Errorf("the servers are %v, want none", got)
	}
}
