package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socketPath returns a path that is short enough for a socket.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "admin") //nolint:usetesting // t.TempDir has the test's name in it, too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "ournet.sock")
}

// serve answers on a socket until the test ends and returns a client of it.
func serve(t *testing.T, answer http.HandlerFunc) *Client {
	t.Helper()
	path := socketPath(t)
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: answer, ReadHeaderTimeout: time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve = %v", err)
		}
	})
	return New(path)
}

func TestNetworks_readsWhatThePluginAnswers(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != NetworksPath {
			t.Errorf("asked %s %s", r.Method, r.URL.Path)
		}
		// A later plugin may have more to say.
		_, _ = io.WriteString(w, `{"later":1,"networks":[{"id":"n1","later":[],"endpoints":[{"id":"e1","ports":[
			{"protocol":"udp","container":"10.0.0.2:53","host":"127.0.0.1:5353"},
			{"protocol":"tcp","container":"[fd00::2]:80","host":"[::]:8080"}]}]},{"id":"n2","endpoints":[]}]}`+"\n")
	})
	got, err := c.Networks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := Networks{Networks: []Network{
		{ID: "n1", Endpoints: []Endpoint{{ID: "e1", Ports: []Port{
			{Protocol: "udp", Container: netip.MustParseAddrPort("10.0.0.2:53"), Host: netip.MustParseAddrPort("127.0.0.1:5353")},
			{Protocol: "tcp", Container: netip.MustParseAddrPort("[fd00::2]:80"), Host: netip.MustParseAddrPort("[::]:8080")},
		}}}},
		{ID: "n2", Endpoints: []Endpoint{}},
	}}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("Networks (-want +got):\n%s", diff)
	}
}

func TestNetworks_errorSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		answer http.HandlerFunc
		is     error
		says   string
	}{
		{"plugin without the path", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"Err":"this plugin has no /x"}`, http.StatusNotFound)
		}, ErrUnknown, NetworksPath},
		{"plugin that fails", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"Err":"the cat is on the table"}`, http.StatusInternalServerError)
		}, nil, "the cat is on the table"},
		{"no JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, nil, "read the answer"},
		{"half an answer", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"networks":[`) }, nil, "read the answer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := serve(t, tc.answer).Networks(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.says) || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("Networks = %v, %v, want an error that says %q and is %v", got, err, tc.says, tc.is)
			}
		})
	}
}

func TestNetworks_answerWithoutEndIsCut(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"networks":[`)
		line := strings.Repeat(`{"id":"n"},`, 1<<14)
		for {
			if _, err := io.WriteString(w, line); err != nil {
				return
			}
		}
	})
	c.timeout = time.Minute // the size is what ends it, on the slowest machine
	if _, err := c.Networks(t.Context()); err == nil || !strings.Contains(err.Error(), "larger than 32 MiB") {
		t.Errorf("Networks = %v, want an error that says the answer is too large", err)
	}
}

func TestNetworks_silentPluginIsNotWaitedForWithoutEnd(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"nothing", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{"half", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"networks":[`)
			w.(http.Flusher).Flush() //nolint:errcheck // net/http's always is one
			<-r.Context().Done()
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, tc.answer)
			c.timeout = 50 * time.Millisecond
			if _, err := c.Networks(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Networks = %v, want that the time is over", err)
			}
		})
	}
}

func TestNetworks_absentPluginIsNotRunning(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	if _, err := New(path).Networks(t.Context()); !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), path) {
		t.Errorf("with no socket Networks = %v, want %v and the path", err, ErrNotRunning)
	}
	// One that was killed leaves its socket.
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) //nolint:errcheck // a unix socket's always is one
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := New(path).Networks(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("with a dead socket Networks = %v, want %v", err, ErrNotRunning)
	}
}

// Root, as whom the tests run, is let in everywhere.
func TestClassify_knowsThatRootIsNeeded(t *testing.T) {
	t.Parallel()
	for _, errno := range []syscall.Errno{syscall.EACCES, syscall.EPERM} {
		err := classify(&net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", errno)})
		if !errors.Is(err, ErrPermission) {
			t.Errorf("classify(%v) = %v, want %v", errno, err, ErrPermission)
		}
	}
}

func TestSocketPath_isWhereTheEngineLooks(t *testing.T) {
	t.Parallel()
	if got := SocketPath("second"); got != "/run/docker/plugins/second.sock" {
		t.Errorf("SocketPath = %s", got)
	}
}
