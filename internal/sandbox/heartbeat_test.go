package sandbox

import (
	"testing"
	"time"
)

// Queries that come while the process ends are answered: by the engine.
func TestYield_givesQueriesBackAtOnce(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c, s := h.start("a"), h.sandboxes(Options{Timeout: longAgo})
	c.engine(engines()["iptables-nft"])
	c.ensure(s)
	s.Yield()
	if got := c.asks("udp"); got != "engine" {
		t.Errorf("a client is answered by %s", got)
	}
	s.beat(t.Context(), s.keys())
	if got := c.asks("udp"); got != "ournet" {
		t.Errorf("after a heartbeat a client is answered by %s", got)
	}
	s.Yield()
	s.Close()
	if got := c.asks("udp"); got != "engine" || len(s.open) > 0 {
		t.Errorf("after Close a client is answered by %s, and %d sandboxes are open", got, len(s.open))
	}
}

func TestRun_rulesThatSomeoneFlushedComeBack(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c, s := h.start("a"), h.sandboxes(Options{Timeout: longAgo})
	c.ensure(s)
	c.ns.Exec(t, "nft", "flush", "ruleset")
	s.beat(t.Context(), s.keys())
	if got := c.asks("udp"); got != "ournet" {
		t.Errorf("a client is answered by %s", got)
	}
}

func TestBeat_tellsWhatItMadeAnew(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	var told []string
	c, s := h.start("a"), h.sandboxes(Options{Timeout: longAgo, Repaired: func(what string) { told = append(told, what) }})
	c.ensure(s)
	s.beat(t.Context(), s.keys())
	if len(told) > 0 {
		t.Fatalf("told of %q, though all is there", told)
	}
	c.ns.Exec(t, "nft", "flush", "ruleset")
	for range 2 {
		s.beat(t.Context(), s.keys())
	}
	if len(told) != 1 || told[0] != "resolver rules of sandbox "+c.key {
		t.Errorf("told of %q, want the sandbox once", told)
	}
}

// The kernel counts from the last heartbeat, so each sandbox has its own moment.
func TestDue_isAnIntervalAfterTheLast(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c, s := h.start("a"), h.sandboxes(Options{Timeout: longAgo})
	b := c.ensure(s)
	for _, tc := range []struct {
		after time.Duration
		want  int
	}{{0, 0}, {s.opts.Interval - 1, 0}, {s.opts.Interval, 1}} {
		if got := s.due(b.renewed.Add(tc.after)); len(got) != tc.want {
			t.Errorf("%s after the last heartbeat %d are due, want %d", tc.after, len(got), tc.want)
		}
	}
}

// Who reads from a sandbox's sockets has to tell its end from trouble.
func TestRemove_saysThatItIsGoneBeforeItClosesSockets(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	c, s := h.start("a"), h.sandboxes(Options{Timeout: longAgo})
	for range 20 {
		b := c.ensure(s)
		said := make(chan bool)
		go func() {
			_, _, _ = b.UDP.ReadFromUDPAddrPort(nil) // it ends when the socket is closed
			select {
			case <-b.Gone():
				said <- true
			default:
				said <- false
			}
		}()
		if err := s.Remove(t.Context(), c.key); err != nil {
			t.Fatal(err)
		}
		if !<-said {
			t.Fatal("the sockets are closed, and the sandbox is not gone")
		}
	}
}
