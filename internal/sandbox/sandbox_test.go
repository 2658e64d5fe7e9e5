package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

func netAddr(port uint16) netip.AddrPort { return netip.AddrPortFrom(resolver(), port) }

func TestEnsure_oursWinsWhateverTheOrder(t *testing.T) {
	t.Parallel()
	for name, rules := range engines() {
		for _, first := range []string{"engine", "ournet"} {
			t.Run(name+", "+first+" first", func(t *testing.T) {
				t.Parallel()
				h := newHost(t)
				c, s := h.start("a"), h.sandboxes(Options{Timeout: longAgo})
				var b *Sandbox
				if first == "engine" {
					c.engine(rules)
					b = c.ensure(s)
				} else {
					b = c.ensure(s)
					c.engine(rules)
				}
				for _, network := range []string{"udp", "tcp"} {
					if got := c.asks(network); got != "ournet" {
						t.Errorf("over %s a client is answered by %s", network, got)
					}
					conn, err := b.Dial(t.Context(), network)
					if err != nil {
						t.Fatal(err)
					}
					if got := exchange(t, conn); got != "engine" {
						t.Errorf("over %s we are answered by %s, want the engine", network, got)
					}
					if err := conn.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

func TestEnsure_tableIsAsWritten(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c, s := h.start("a"), h.sandboxes(Options{})
	begin := time.Now()
	b := c.ensure(s)
	got := c.ns.Exec(t, "nft", "list", "table", "ip", "ournet")
	// A machine that is too busy to look while the element lives does so again.
	for time.Since(begin) >= s.opts.Timeout {
		begin = time.Now()
		s.beat(t.Context(), s.keys())
		got = c.ns.Exec(t, "nft", "list", "table", "ip", "ournet")
	}
	udp := localPort(b.UDP.LocalAddr())
	for _, want := range []string{
		"type filter hook output priority raw - 10; policy accept;",
		fmt.Sprintf(`ip daddr 127.0.0.11 udp dport @ports meta mark != 0x6f756e74 ct original zone set %d`, udp),
		fmt.Sprintf(`ip saddr 127.0.0.11 udp sport %d ct zone set 0`, udp),
		"type nat hook output priority -110; policy accept;",
		fmt.Sprintf(`ip daddr 127.0.0.11 udp dport 53 ct zone %d dnat to 127.0.0.11:%[1]d`, udp),
		fmt.Sprintf(`ip daddr 127.0.0.11 tcp dport @ports meta mark != 0x6f756e74 dnat to 127.0.0.11:%d`, localPort(b.TCP.Addr())),
		"timeout 3s", "elements = { 53 ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestEnsure_againIsTheSame(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c, s := h.start("a"), h.sandboxes(Options{Timeout: longAgo})
	b := c.ensure(s)
	again, err := s.Ensure(t.Context(), c.key)
	if err != nil || again != b {
		t.Fatalf("Ensure = %p, %v, want %p again", again, err, b)
	}
	// Someone in the container who may do so has thrown everything away.
	c.ns.Exec(t, "nft", "flush", "ruleset")
	if got := c.asks("udp"); got != "refused" {
		t.Fatalf("without rules a client is answered by %s", got)
	}
	if _, err := s.Ensure(t.Context(), c.key); err != nil {
		t.Fatal(err)
	}
	if got := c.asks("udp"); got != "ournet" {
		t.Errorf("after repair a client is answered by %s", got)
	}
}

func TestEnsure_takesOverWhatAnEarlierProcessLeft(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c := h.start("a")
	c.engine(engines()["iptables-nft"])
	dead := h.sandboxes(Options{Timeout: longAgo})
	b := c.ensure(dead)
	udp, tcp := localPort(b.UDP.LocalAddr()), localPort(b.TCP.Addr())
	var client net.Conn
	c.ns.Run(t, func() (err error) {
		client, err = net.Dial("udp", netAddr(dnsPort).String())
		return err
	})
	defer func() { _ = client.Close() }()
	if got := exchange(t, client); got != "ournet" {
		t.Fatalf("a client is answered by %s", got)
	}
	c.killed(dead, b)

	again := c.ensure(h.sandboxes(Options{Timeout: longAgo}))
	if u, p := localPort(again.UDP.LocalAddr()), localPort(again.TCP.Addr()); u != udp || p != tcp {
		t.Errorf("the ports are %d and %d, want %d and %d again", u, p, udp, tcp)
	}
	if got := exchange(t, client); got != "ournet" {
		t.Errorf("the client's old socket is answered by %s", got)
	}
	if got := c.asks("tcp"); got != "ournet" {
		t.Errorf("over TCP a client is answered by %s", got)
	}
}

func TestEnsure_portThatIsTakenMeanwhileIsAnother(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c := h.start("a")
	dead := h.sandboxes(Options{Timeout: longAgo})
	b := c.ensure(dead)
	port := localPort(b.UDP.LocalAddr())
	c.killed(dead, b)
	c.ns.Run(t, func() error {
		udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netAddr(port)))
		if err == nil {
			t.Cleanup(func() { _ = udp.Close() })
		}
		return err
	})
	again := c.ensure(h.sandboxes(Options{Timeout: longAgo}))
	if localPort(again.UDP.LocalAddr()) == port {
		t.Error("two sockets have one port")
	}
	if got := c.asks("udp"); got != "ournet" {
		t.Errorf("a client is answered by %s", got)
	}
}

func TestRun_queriesStayWithUsWhileItBeats(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c := h.start("a")
	c.engine(engines()["iptables-nft"])
	// Twenty times as many beats as needed, so that there are many to look at.
	s := h.sandboxes(Options{Timeout: 3 * time.Second, Interval: 5 * time.Millisecond})
	c.ensure(s)
	ctx, cancel := context.WithCancel(t.Context())
	var group errgroup.Group
	group.Go(func() error { return s.Run(ctx) })
	for i := range 300 {
		if got := c.asks("udp"); got != "ournet" {
			t.Fatalf("query %d is answered by %s", i, got)
		}
	}
	cancel()
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// A client that asks when nobody renews the rules any more gets to the engine's
// resolver; how soon is the timeout of the set, which the kernel keeps.
func TestRun_queriesGoToTheEngineWhenItStops(t *testing.T) {
	t.Parallel()
	eachEngine(t, Options{}, func(t *testing.T, _ *host, c *container, s *Sandboxes) {
		b := c.ensure(s)
		start := time.Now()
		c.killed(s, b)
		for c.asks("udp") != "engine" {
			if time.Since(start) > patience {
				t.Fatal("queries do not go to the engine")
			}
			<-time.After(10 * time.Millisecond)
		}
		t.Logf("after %s", time.Since(start))
		if got := c.asks("tcp"); got != "engine" {
			t.Errorf("over TCP a client is answered by %s", got)
		}
	})
}

// No heartbeat is due while this runs: it is the end of the mount that tells.
func TestRun_aSandboxThatIsGoneIsClosed(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c, s := h.start("a"), h.sandboxes(Options{Timeout: longAgo})
	stays := h.start("b").ensure(s)
	b := c.ensure(s)
	// It is gone from the start, and is looked at last of all: when it is closed, the
	// first look is over.
	last := h.start("c")
	looked := last.ensure(s)
	last.gone()
	elsewhere := t.TempDir()
	err := inMountNamespace(func() error {
		s.mounts = "/proc/thread-self/mountinfo"
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		told := sameMounts(unix.Gettid(), func() error {
			defer cancel()
			select {
			case <-looked.Gone():
			case <-ctx.Done():
				return errors.New("there is no first look")
			}
			if err := errors.Join(os.Remove(c.path), unix.Mount("none", elsewhere, "tmpfs", 0, "")); err != nil {
				return err
			}
			select {
			case <-b.Gone():
			case <-ctx.Done():
				return errors.New("its sockets stay, and with them its namespace")
			case <-stays.Gone():
				return errors.New("another one is closed")
			}
			return nil
		})
		return errors.Join(s.Run(ctx), <-told)
	})
	if err != nil {
		t.Error(err)
	}
	if s.get(c.key) != nil {
		t.Error("it is still known")
	}
	if _, err := s.Ensure(t.Context(), c.key); !errors.Is(err, ErrGone) {
		t.Errorf("Ensure = %v, want ErrGone", err)
	}
	if err := s.Remove(t.Context(), c.key); err != nil {
		t.Errorf("Remove = %v", err)
	}
}

func TestRun_aKeyThatIsUsedAgainIsAnotherSandbox(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c, s := h.start("a"), h.sandboxes(Options{Timeout: longAgo})
	old := c.ensure(s)
	c.gone()
	again := h.start("a")
	if b := again.ensure(s); b == old {
		t.Error("it is taken for the old one")
	}
	<-old.Gone()
	if got := again.asks("udp"); got != "ournet" {
		t.Errorf("a client is answered by %s", got)
	}
}

func TestEnsure_aFileThatIsNoNamespaceYetIsGone(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	s := h.sandboxes(Options{})
	if err := os.WriteFile(h.root+"/run/docker/netns/b", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"/var/run/docker/netns/b", "/run/docker/netns/none"} {
		if _, err := s.Ensure(t.Context(), key); !errors.Is(err, ErrGone) {
			t.Errorf("Ensure(%s) = %v, want ErrGone", key, err)
		}
		if err := s.Remove(t.Context(), key); err != nil {
			t.Errorf("Remove(%s) = %v", key, err)
		}
	}
}

// trace is everything in the namespace that could be ours.
func (c *container) trace() string {
	return c.ns.Exec(c.t, "nft", "--stateless", "list", "ruleset") + c.ns.Sockets(c.t)
}

func TestRemove_leavesNoTrace(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"the process that opened it", "the next one"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			c, s := h.start("a"), h.sandboxes(Options{Timeout: longAgo})
			c.engine(engines()["iptables-nft"])
			before := c.trace()
			b := c.ensure(s)
			if got := c.asks("udp"); got != "ournet" {
				t.Fatalf("a client is answered by %s", got)
			}
			if who == "the next one" {
				c.killed(s, b)
				s = h.sandboxes(Options{})
			}
			for range 2 {
				if err := s.Remove(t.Context(), c.key); err != nil {
					t.Fatal(err)
				}
			}
			if got := c.asks("udp"); got != "engine" {
				t.Errorf("a client is answered by %s", got)
			}
			if after := c.trace(); after != before {
				t.Errorf("left over:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

func TestEnsure_manyAtOnce(t *testing.T) {
	t.Parallel()
	const count = 30
	h := newHost(t)
	s := h.sandboxes(Options{Timeout: longAgo})
	var containers []*container
	for i := range count {
		containers = append(containers, h.start(fmt.Sprintf("c%d", i)))
	}
	var group sync.WaitGroup
	var opened []*Sandbox
	for _, c := range containers {
		for range 3 { // and some of them for the same
			group.Go(func() {
				if _, err := s.Ensure(context.Background(), c.key); err != nil {
					t.Errorf("Ensure(%s): %v", c.key, err)
				}
			})
		}
	}
	group.Wait()
	for _, c := range containers {
		opened = append(opened, c.ensure(s))
		if got := c.asks("udp"); got != "ournet" {
			t.Errorf("%s: a client is answered by %s", c.key, got)
		}
	}
	s.beat(t.Context(), s.keys())
	for _, c := range containers {
		group.Go(func() {
			if err := s.Remove(context.Background(), c.key); err != nil {
				t.Errorf("Remove(%s): %v", c.key, err)
			}
		})
	}
	group.Wait()
	for _, b := range opened {
		<-b.Gone()
	}
	if len(s.open) > 0 {
		t.Errorf("%d are still open", len(s.open))
	}
}

func TestEnsure_endsWithTheContext(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c, s := h.start("a"), h.sandboxes(Options{})
	done, err := s.turns.Take(t.Context(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Ensure(ctx, c.key); !errors.Is(err, context.Canceled) {
		t.Errorf("Ensure = %v, want that the context ended", err)
	}
	if err := s.Remove(ctx, c.key); !errors.Is(err, context.Canceled) {
		t.Errorf("Remove = %v, want that the context ended", err)
	}
}
