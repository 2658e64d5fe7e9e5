package e2e

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
)

// pluginKills is how often a test kills the plugin: enough for every change; more by
// `go test ./test/e2e -v -run WhenThePluginIsKilled -args -kills 16` after `make setup plugin`.
var pluginKills = flag.Int("kills", 4, "how often the plugin is killed")

// streams are those of an estate.
type streams struct {
	h   *host
	all []*stream
}

// startStreams starts a stream by TCP and one by UDP on each kind of way: between
// containers, out, and from outside to the published port. They need no engine.
func (e *estate) startStreams() *streams {
	e.h.Helper()
	all, err := e.h.inhabitants()
	if err != nil {
		e.h.Fatal(err)
	}
	first, err := e.h.FirstPID()
	if err != nil {
		e.h.Fatal(err)
	}
	outside, err := e.h.lab.Outside.FirstPID()
	if err != nil {
		e.h.Fatal(err)
	}
	of := func(container string) string { return all[container].namespace(first) }
	s := &streams{h: e.h}
	for _, protocol := range []string{"tcp", "udp"} {
		for _, way := range []struct{ name, namespace, target string }{
			{"between containers", of("visitor"), e.address("web", "front") + ":6379"},
			{"between containers with the engine's IPAM", of("base"), e.address("app", "back") + ":6379"},
			{"on the internal network", of("guard"), e.address("vault", "closed") + ":6379"},
			{"out", of("base"), e.h.outside()},
			{"to the published port", fmt.Sprintf("/proc/%d/ns/net", outside), e.published()},
		} {
			one, err := startStream(e.h.ctx, way.name+" by "+protocol, way.namespace, protocol, way.target)
			if err != nil {
				e.h.Fatal(err)
			}
			e.h.Cleanup(func() { _ = one.conn.Close() }) // for a test that failed before it asked
			s.all = append(s.all, one)
		}
	}
	return s
}

// areWhole ends the streams and asserts that no message was lost.
func (s *streams) areWhole() {
	s.h.Helper()
	total := 0
	for _, one := range s.all {
		sent, err := one.close()
		total += sent
		if err != nil {
			s.h.Errorf("stream %s: %v", one.name, err)
		}
	}
	s.h.Logf("%d messages over %d connections", total, len(s.all))
}

// The kernel forwards packets with or without the plugin, and a new process finds
// there what it would make.
func TestStreams_loseNothingWhenThePluginIsKilled(t *testing.T) {
	each(t, func(h *host) {
		e := openEstate(h)
		s := e.startStreams()
		l := h.startLookups("web", "app", e.address("app", "front"), true)
		for range *pluginKills {
			h.killPlugin()
			l.areOurs()
		}
		s.areWhole()
		l.end()
		e.isWhole()
		h.run("docker run --rm --network front busybox ping -c 1 -W 10 web")
	})
}

func TestStreams_loseNothingWhenTheEngineEndsWithLiveRestore(t *testing.T) {
	each(t, func(h *host) {
		h.liveRestore()
		e := openEstate(h)
		for _, event := range []struct {
			name string
			// outage is whether names may be missing for a while.
			outage bool
			do     func(h *host) error
		}{
			{"restart of the engine", false, func(h *host) error { return h.RestartEngine(h.ctx) }},
			{"SIGKILL of the engine", false, (*host).crashEngine},
			{"SIGKILL of both", true, func(h *host) error {
				pid, err := h.PluginPID(h.ctx, pluginName)
				return errors.Join(err, h.KillEngine(h.ctx), syscall.Kill(pid, syscall.SIGKILL), h.StartEngine(h.ctx))
			}},
		} {
			passed := h.part(event.name, func(h *host) {
				part := e.in(h)
				s := part.startStreams()
				l := h.startLookups("web", "app", e.address("app", "front"), event.outage)
				if err := event.do(h); err != nil {
					h.Fatal(err)
				}
				s.areWhole()
				l.end()
				part.isWhole()
			})
			if !passed {
				return
			}
		}
		// The engine can still take apart what it found running.
		h.run("docker stop web app")
		h.assertJustified(settle, "with two containers stopped")
		h.run("docker start web app")
		e.isWhole()
	})
}

// liveRestore restarts the engine with live-restore, and without it after the test.
func (h *host) liveRestore() {
	h.Helper()
	const file = "/etc/docker/daemon.json"
	set := func(script string) {
		h.Helper()
		_, err := h.Exec(h.ctx, "sh", "-c", script)
		if err := errors.Join(err, h.RestartEngine(h.ctx)); err != nil {
			h.Fatal(err)
		}
	}
	h.Cleanup(func() {
		h.ctx = h.lasting()
		h.removeAll()
		set("rm " + file)
	})
	set("mkdir -p " + filepath.Dir(file) + ` && echo '{"live-restore": true}' >` + file)
}
