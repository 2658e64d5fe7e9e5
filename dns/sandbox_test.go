package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/netnstest"
	"github.com/ournet/ournet/internal/sandbox"
)

// dockerized is a container's namespace as the plugin will find it: with the
// engine's resolver behind 127.0.0.11 port 53, and the responder before that.
type dockerized struct {
	*place
	up    *upstream
	boxes *sandbox.Sandboxes
}

const boxPath = "/run/docker/netns/0123456789ab"

func newDockerized(t *testing.T) *dockerized {
	t.Helper()
	ns := netnstest.New(t)
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(boxPath)), 0o755); err != nil {
		t.Fatal(err)
	}
	var fd int
	ns.Run(t, func() (err error) {
		fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := os.Symlink("/proc/self/fd/"+strconv.Itoa(fd), filepath.Join(root, boxPath)); err != nil {
		t.Fatal(err)
	}
	// The list of mounts that tells when a namespace goes.
	if err := os.MkdirAll(filepath.Join(root, "proc/1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/proc/self/mountinfo", filepath.Join(root, "proc/1/mountinfo")); err != nil {
		t.Fatal(err)
	}
	d := &dockerized{
		place: &place{t: t, ns: ns, udp: resolverAddr("udp"), tcp: resolverAddr("tcp")},
		up:    &upstream{t: t, ns: ns, answer: denial}, boxes: sandbox.New(quiet(), hostfs.New(root), sandbox.Options{}),
	}
	d.up.listen()
	t.Cleanup(d.up.close)
	d.engineRules()
	return d
}

func resolverAddr(network string) net.Addr {
	ip := net.IPv4(127, 0, 0, 11)
	if network == "tcp" {
		return &net.TCPAddr{IP: ip, Port: 53}
	}
	return &net.UDPAddr{IP: ip, Port: 53}
}

// engineRules leads port 53 to the engine's resolver, as the engine does when it
// starts: what it had there before is flushed.
func (d *dockerized) engineRules() {
	d.t.Helper()
	if _, err := d.ns.TryExec(d.t, "iptables-nft", "-t", "nat", "-N", "DOCKER_OUTPUT"); err != nil {
		d.ns.Exec(d.t, "iptables-nft", "-t", "nat", "-F", "DOCKER_OUTPUT")
	} else {
		d.ns.Exec(d.t, "iptables-nft", "-t", "nat", "-I", "OUTPUT", "-d", "127.0.0.11", "-j", "DOCKER_OUTPUT")
	}
	for _, addr := range []net.Addr{d.up.udp.LocalAddr(), d.up.tcp.Addr()} {
		d.ns.Exec(d.t, "iptables-nft", "-t", "nat", "-A", "DOCKER_OUTPUT", "-d", "127.0.0.11", "-p", addr.Network(),
			"--dport", "53", "-j", "DNAT", "--to-destination", addr.String())
	}
}

// start does what the plugin will do for a sandbox, until stop is called.
func (d *dockerized) start(r *Records) (stop func()) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b, err := d.boxes.Ensure(ctx, boxPath)
	if err != nil {
		cancel()
		d.t.Fatal(err)
	}
	served, beaten := make(chan error, 1), make(chan error, 1)
	go func() {
		served <- New(quiet(), r, Options{}).Serve(ctx, box, Sockets{UDP: b.UDP, TCP: b.TCP, Dial: b.Dial})
	}()
	go func() { beaten <- d.boxes.Run(ctx) }()
	return func() {
		if err := d.boxes.Remove(ctx, boxPath); err != nil {
			d.t.Error(err)
		}
		cancel()
		<-b.Gone()
		// It may see that the sockets are closed before it hears that it shall end.
		if err := <-served; err != nil && !errors.Is(err, net.ErrClosed) {
			d.t.Error(err)
		}
		if err := <-beaten; err != nil {
			d.t.Error(err)
		}
	}
}

func TestSandbox_ownNamesAreOursAndAllElseIsTheEngines(t *testing.T) {
	t.Parallel()
	d := newDockerized(t)
	stop := d.start(office())
	for _, addr := range []net.Addr{d.udp, d.tcp} {
		for name, want := range map[string]string{"web": "Success aa rd ra\nweb. 5 10.0.0.2", "example.com": "NameError rd"} {
			if got := shown(t, ask(t, d.dial(addr), asked(name, typeA))); got != want {
				t.Errorf("%s over %s: %s, want %s", name, addr.Network(), got, want)
			}
		}
	}
	stop()
	for _, addr := range []net.Addr{d.udp, d.tcp} {
		if got := shown(t, ask(t, d.dial(addr), asked("web", typeA))); got != "NameError rd" {
			t.Errorf("after removal, over %s: %s, want the engine's answer", addr.Network(), got)
		}
	}
}

// With live-restore the engine restarts while containers run, and its resolver comes
// back at another port. The kernel still translates a socket in use to the old one.
func TestSandbox_engineThatRestartsIsFoundByTheNextQuery(t *testing.T) {
	t.Parallel()
	d := newDockerized(t)
	defer d.start(office())()
	conn := d.dial(d.udp)
	ask(t, conn, asked("example.com", typeA))
	for i := range 3 {
		d.up.close()
		d.up.listen()
		d.engineRules()
		if got := shown(t, ask(t, conn, asked(fmt.Sprintf("restart%d.example", i), typeA))); got != "NameError rd" {
			t.Errorf("after restart %d: %s", i, got)
		}
		if got := shown(t, ask(t, conn, asked("web", typeA))); got != "Success aa rd ra\nweb. 5 10.0.0.2" {
			t.Errorf("own name after restart %d: %s", i, got)
		}
	}
}

// A container's own programs: busybox, and the resolver of the C library.
func TestSandbox_programsOfAContainer(t *testing.T) {
	t.Parallel()
	d := newDockerized(t)
	defer d.start(office())()
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 127.0.0.11\noptions ndots:0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// In a mount namespace of its own, as a container has.
	getent := func(args string) []string {
		return []string{"unshare", "-m", "sh", "-c", "mount --bind " + conf + " /etc/resolv.conf && getent " + args}
	}
	for _, tc := range []struct {
		program []string
		want    []string
	}{
		{[]string{"busybox", "nslookup", "web.lab", "127.0.0.11"}, []string{"Address: 10.0.0.2", "Address: fd00::2"}},
		{[]string{"busybox", "nslookup", "10.0.0.2", "127.0.0.11"}, []string{"name = web\n", "name = web.lab\n"}},
		{getent("ahosts WEB"), []string{"10.0.0.2 ", "fd00::2 "}},
		{getent("ahosts app"), []string{"10.0.0.2 ", "10.0.0.3 ", "10.0.0.4 "}},
		{getent("hosts 10.0.0.2"), []string{"10.0.0.2        web\n"}},
		{getent("hosts far"), []string{"10.0.0.4        far\n"}},
	} {
		out := d.ns.Exec(t, tc.program[0], tc.program[1:]...)
		for _, want := range tc.want {
			if !strings.Contains(out, want) {
				t.Errorf("%q of %v does not say %q", out, tc.program, want)
			}
		}
	}
}
