package plugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ournet/ournet/internal/config"
)

// listen opens a socket and closes it with the test, if it is still open.
func listenAt(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // the test may have closed it
	return l
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func dial(t *testing.T, path string) error {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "unix", path)
	if err != nil {
		return err
	}
	return c.Close()
}

func TestListen_socketIsForRootAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(socketFolder(t), "ournet.sock")
	l := listenAt(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got.Type() != fs.ModeSocket || got.Perm() != 0o600 {
		t.Errorf("mode = %v, want a socket with 0600", got)
	}
	if got := l.Addr().String(); got != path {
		t.Errorf("Addr = %s, want %s", got, path)
	}
}

func TestListen_takesThePlaceOfADeadSocket(t *testing.T) {
	t.Parallel()
	dir := socketFolder(t)
	path := filepath.Join(dir, "ournet.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	listenAt(t, path)
	if err := dial(t, path); err != nil {
		t.Errorf("dial: %v", err)
	}
	if got := entries(t, dir); len(got) != 1 {
		t.Errorf("folder has %v, want the socket alone", got)
	}
}

func TestListen_refusesANameThatAnotherPluginServes(t *testing.T) {
	t.Parallel()
	dir := socketFolder(t)
	cfg := config.Config{Name: "lab", ManagedSocket: filepath.Join(dir, "managed.sock"), SharedSocketDir: dir}
	other := listenAt(t, filepath.Join(dir, "lab.sock"))
	if _, err := listen(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), `NAME="lab"`) {
		t.Fatalf("listen beside a plugin of the same name: %v, want an error that names it", err)
	}
	if err := dial(t, other.Addr().String()); err != nil {
		t.Errorf("the other plugin no longer answers: %v", err)
	}
	if got := entries(t, dir); len(got) != 1 {
		t.Errorf("folder has %v, want the other's socket alone", got)
	}
}

// Whatever name a user chooses, it is not one of the packet filter's that someone
// else has.
func TestTableName_isOursAlone(t *testing.T) {
	t.Parallel()
	for instance, want := range map[string]string{"ournet": "ournet", "ournet2": "ournet-ournet2", "filter": "ournet-filter", "docker": "ournet-docker"} {
		if got := tableName(instance); got != want {
			t.Errorf("tableName(%q) = %q, want %q", instance, got, want)
		}
	}
}

// While one process hands over to the next, an engine may look at any moment.
func TestListen_pathAnswersAtEveryMomentOfAHandOver(t *testing.T) {
	t.Parallel()
	path := filepath.Join(socketFolder(t), "ournet.sock")
	listenAt(t, path)
	stop, looked := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				looked <- nil
				return
			default:
			}
			// One whose backlog is full is there: those before have not been accepted.
			if err := dial(t, path); err != nil && !errors.Is(err, unix.EAGAIN) {
				looked <- err
				return
			}
		}
	}()
	for range 50 {
		listenAt(t, path)
	}
	close(stop)
	if err := <-looked; err != nil {
		t.Errorf("dial during the hand-over: %v", err)
	}
}

func TestClose_removesTheSocketOnlyIfItIsStillOurs(t *testing.T) {
	t.Parallel()
	dir := socketFolder(t)
	path := filepath.Join(dir, "ournet.sock")
	old := listenAt(t, path)
	successor := listenAt(t, path)
	if err := old.Close(); err != nil {
		t.Errorf("Close of the old one: %v", err)
	}
	if err := dial(t, path); err != nil {
		t.Errorf("dial after the old one closed: %v", err)
	}
	if err := successor.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if got := entries(t, dir); len(got) != 0 {
		t.Errorf("folder has %v after Close, want nothing", got)
	}
}

func TestListen_missingFolderIsAnError(t *testing.T) {
	t.Parallel()
	if l, err := Listen(filepath.Join(socketFolder(t), "absent", "ournet.sock")); err == nil {
		t.Errorf("Listen = %v, want an error", l.Addr())
	}
}

func TestListen_pathThatIsAFolderLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	dir := socketFolder(t)
	if err := os.Mkdir(filepath.Join(dir, "ournet.sock"), 0o700); err != nil {
		t.Fatal(err)
	}
	if l, err := Listen(filepath.Join(dir, "ournet.sock")); err == nil {
		t.Errorf("Listen = %v, want an error", l.Addr())
	}
	if got := entries(t, dir); len(got) != 1 {
		t.Errorf("folder has %v, want only what was there", got)
	}
}

func TestServe_answersOnEveryListener(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	dir := socketFolder(t)
	var (
		listeners []net.Listener
		paths     []string
	)
	for _, name := range []string{"managed.sock", "ournet.sock"} {
		path := filepath.Join(dir, name)
		paths, listeners = append(paths, path), append(listeners, listenAt(t, path))
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, s.Handler, listeners...) }()
	for _, path := range paths {
		client, idle := socketClient(path)
		if a := mustPost(t, client, "/Plugin.Activate", nil); a.Status != http.StatusOK {
			t.Errorf("%s = %v", path, a)
		}
		idle()
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	if got := entries(t, dir); len(got) != 0 {
		t.Errorf("folder has %v after Serve, want nothing", got)
	}
}

func TestServe_finishesTheRequestUnderWay(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	path := filepath.Join(socketFolder(t), "ournet.sock")
	l := listenAt(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	started, release := make(chan struct{}), make(chan struct{})
	s.verb("Test.Slow", func(context.Context, []byte) (any, error) {
		close(started)
		<-release
		return struct{}{}, nil
	})
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, s.Handler, l) }()
	client, idle := socketClient(path)
	defer idle()
	answered := make(chan string, 1)
	go func() {
		a, err := post(client, "/Test.Slow", []byte("{}"))
		answered <- fmt.Sprint(a.Status, a.Body, err)
	}()
	<-started
	cancel()
	waitUntilGone(t, path)
	close(release)
	if got, want := <-answered, "200{}<nil>"; got != want {
		t.Errorf("request during shutdown = %s, want %s", got, want)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

// waitUntilGone returns when the listener at path has closed.
func waitUntilGone(t *testing.T, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Lstat(path); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s is still there", path)
		case <-tick.C:
		}
	}
}

func TestServe_listenerThatFailsEndsTheOthers(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	dir := socketFolder(t)
	good, bad := listenAt(t, filepath.Join(dir, "good.sock")), listenAt(t, filepath.Join(dir, "bad.sock"))
	if err := bad.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Serve(t.Context(), s.Handler, good, bad); err == nil {
		t.Error("Serve = nil, want the error of the closed listener")
	}
}
