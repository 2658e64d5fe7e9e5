package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/netnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

// longAgo is a timeout that does not run out while a test does not beat.
const longAgo = time.Hour

// host is a host's file system with the namespaces of its containers.
type host struct {
	t    testing.TB
	root string
}

func newHost(t testing.TB) *host {
	t.Helper()
	h := &host{t: t, root: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(h.root, "run/docker/netns"), 0o755); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) sandboxes(opts Options) *Sandboxes {
	log := logrus.New()
	log.SetOutput(io.Discard)
	s := New(log, hostfs.New(h.root), opts)
	s.mounts = "/proc/self/mountinfo"
	h.t.Cleanup(func() {
		for key, b := range s.open {
			s.forget(key, b)
		}
	})
	return s
}

// container is a namespace with a resolver as the engine makes it.
type container struct {
	t    testing.TB
	ns   *netnstest.Namespace
	key  string
	path string
	// silent waits until nobody answers with "ournet" any more.
	silent func()
}

// start makes a container's namespace, at a key of that name.
func (h *host) start(name string) *container {
	h.t.Helper()
	c := &container{
		t: h.t, ns: netnstest.New(h.t),
		key:  "/var/run/docker/netns/" + name,
		path: filepath.Join(h.root, "run/docker/netns", name),
	}
	var fd int
	c.ns.Run(h.t, func() (err error) {
		fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	h.t.Cleanup(func() { _ = unix.Close(fd) })
	if err := os.Symlink("/proc/self/fd/"+strconv.Itoa(fd), c.path); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// gone takes the namespace's path away, as the engine does when a container ends.
func (c *container) gone() {
	if err := os.Remove(c.path); err != nil {
		c.t.Fatal(err)
	}
}

// engine gives the container the engine's resolver: one that says "engine", and the
// rules that lead to it.
func (c *container) engine(rules func(c *container, udp, tcp int)) {
	c.t.Helper()
	var (
		udp *net.UDPConn
		tcp net.Listener
	)
	c.ns.Run(c.t, func() (err error) {
		if udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netAddr(0))); err != nil {
			return err
		}
		tcp, err = net.Listen("tcp", netAddr(0).String())
		return err
	})
	speak(c.t, "engine", udp, tcp)
	rules(c, int(localPort(udp.LocalAddr())), int(localPort(tcp.Addr())))
}

// speak answers everything with a word until the sockets are closed, which the end of
// the test does. The result waits for that: a socket that somebody reads from is there
// until he has seen that it is closed, and what comes meanwhile is lost without a word.
func speak(t testing.TB, word string, udp *net.UDPConn, tcp net.Listener) (silent func()) {
	t.Helper()
	var group sync.WaitGroup
	group.Go(func() {
		buf := make([]byte, 100)
		for {
			_, from, err := udp.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteToUDPAddrPort([]byte(word), from) // the test misses it
		}
	})
	group.Go(func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(word)) // the test misses it
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		_, _ = udp.Close(), tcp.Close() // the test may have
		group.Wait()
	})
	return group.Wait
}

// asks sends a query over a new socket and returns what the answer says.
func (c *container) asks(network string) string {
	c.t.Helper()
	var conn net.Conn
	err := c.ns.Do(func() (err error) {
		conn, err = net.Dial(network, netAddr(dnsPort).String())
		return err
	})
	if err != nil {
		return "refused"
	}
	defer func() { _ = conn.Close() }()
	return exchange(c.t, conn)
}

// exchange sends a query and returns what the answer says.
func exchange(t testing.TB, conn net.Conn) string {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("?")); err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	if errors.Is(err, unix.ECONNREFUSED) {
		return "refused"
	}
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return string(buf[:n])
}

// engines are the ways in which engines lead to their resolver (moby,
// daemon/libnetwork/resolver_unix.go).
func engines() map[string]func(c *container, udp, tcp int) {
	iptables := func(variant string) func(c *container, udp, tcp int) {
		return func(c *container, udp, tcp int) {
			for _, rule := range []string{
				"-N DOCKER_OUTPUT", "-N DOCKER_POSTROUTING",
				"-I OUTPUT -d 127.0.0.11 -j DOCKER_OUTPUT",
				fmt.Sprintf("-A DOCKER_OUTPUT -d 127.0.0.11 -p udp --dport 53 -j DNAT --to-destination 127.0.0.11:%d", udp),
				fmt.Sprintf("-A DOCKER_OUTPUT -d 127.0.0.11 -p tcp --dport 53 -j DNAT --to-destination 127.0.0.11:%d", tcp),
				"-I POSTROUTING -d 127.0.0.11 -j DOCKER_POSTROUTING",
				fmt.Sprintf("-A DOCKER_POSTROUTING -s 127.0.0.11 -p udp --sport %d -j SNAT --to-source :53", udp),
				fmt.Sprintf("-A DOCKER_POSTROUTING -s 127.0.0.11 -p tcp --sport %d -j SNAT --to-source :53", tcp),
			} {
				c.ns.Exec(c.t, variant, append([]string{"-t", "nat"}, strings.Fields(rule)...)...)
			}
		}
	}
	return map[string]func(c *container, udp, tcp int){
		"iptables-nft": iptables("iptables-nft"), "iptables-legacy": iptables("iptables-legacy"),
		"nftables": func(c *container, udp, tcp int) {
			c.ns.Exec(c.t, "nft", fmt.Sprintf(`table ip docker-dns {
				chain dns-dnat { type nat hook output priority -100; policy accept;
					ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:%d
					ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:%d
				}
				chain dns-snat { type nat hook postrouting priority 100; policy accept;
					ip saddr 127.0.0.11 udp sport %[1]d snat to 127.0.0.11:53
					ip saddr 127.0.0.11 tcp sport %[2]d snat to 127.0.0.11:53
				}
			}`, udp, tcp))
		},
	}
}

// eachEngine runs a test with each, in a container that has its resolver.
func eachEngine(t *testing.T, opts Options, test func(t *testing.T, h *host, c *container, s *Sandboxes)) {
	t.Helper()
	for name, rules := range engines() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			c := h.start("a")
			c.engine(rules)
			test(t, h, c, h.sandboxes(opts))
		})
	}
}

// ensure opens the sandbox, and answers there with "ournet".
func (c *container) ensure(s *Sandboxes) *Sandbox {
	c.t.Helper()
	b, err := s.Ensure(context.Background(), c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	c.silent = speak(c.t, "ournet", b.UDP, b.TCP)
	return b
}

// killed ends the process that opened the sandbox, as far as the container sees it.
func (c *container) killed(s *Sandboxes, b *Sandbox) {
	c.t.Helper()
	s.forget(c.key, b)
	c.silent()
	c.ns.AwaitClosed(c.t, localPort(b.UDP.LocalAddr()), localPort(b.TCP.Addr()))
}
