package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// up returns a lab that ends with the test, with the images on every host.
func up(ctx context.Context, t *testing.T, engines ...Engine) *Lab {
	t.Helper()
	l, err := Up(ctx, Config{Engines: engines, DockerdArgs: []string{"--init"}, Log: t.Logf})
	if err != nil {
		t.Fatalf("up: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.WithoutCancel(ctx)); err != nil {
			t.Errorf("down: %v", err)
		}
	})
	return l
}

// must returns what a command printed.
func must(t *testing.T) func(out string, err error) string {
	t.Helper()
	return func(out string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func TestHost_runsContainers(t *testing.T) {
	t.Parallel()
	for _, engine := range Backends() {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			l := up(ctx, t, engine, engine)
			h := l.Host(1)
			if engine == Engine29NFT {
				// Older ones do not say what they have.
				if backend := must(t)(h.Docker(ctx, "info", "--format", "{{.FirewallBackend.Driver}}")); backend != "nftables" {
					t.Errorf("the engine's firewall backend is %s, want nftables", backend)
				}
			}
			if err := h.ImportImages(ctx); err != nil {
				t.Fatal(err)
			}
			out := must(t)(h.Docker(ctx, "run", "--rm", BusyboxImage, "echo", "hello"))
			if out != "hello" {
				t.Errorf("the container printed %q, want hello", out)
			}
			must(t)(h.Exec(ctx, "ping", "-c1", "-W10", l.Host(2).Address().String()))
			must(t)(h.Exec(ctx, "ping", "-c1", "-W10", l.Host(2).Address6().String()))

			must(t)(h.Docker(ctx, "run", "-d", "--name", "server", "-p", "8080:6379", ServerImage))
			probe := must(t)(l.Probe(ctx))
			// The container runs, but its server may not listen yet.
			err := Poll(ctx, "the server's answer", func() error {
				seen, err := l.Outside.Exec(ctx, probe, "who", "tcp", h.Address().String()+":8080")
				if err == nil && !strings.HasPrefix(seen, l.Outside.Address().String()+":") {
					t.Errorf("the server saw %s, want the outside's %s", seen, l.Outside.Address())
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHost_dockerErrorHasTheEnginesWords(t *testing.T) {
	t.Parallel()
	l := up(t.Context(), t, Engine29)
	_, err := l.Host(1).Docker(t.Context(), "network", "inspect", "nowhere")
	var failed *CommandError
	if !errors.As(err, &failed) || !strings.Contains(failed.Output, "nowhere") {
		t.Errorf("the error is %v, want a *CommandError with the engine's output", err)
	}
}

func TestHost_containersSurviveWhatTheyShould(t *testing.T) {
	t.Parallel()
	for _, engine := range Engines() {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			l := up(ctx, t, engine)
			h := l.Host(1)
			if err := h.ImportImages(ctx); err != nil {
				t.Fatal(err)
			}
			must(t)(h.Docker(ctx, "run", "-d", "--name", "again", "--restart", "always", BusyboxImage, "sleep", "1d"))
			for _, step := range []struct {
				name string
				do   func() error
			}{
				{"restart of the engine", func() error { return h.RestartEngine(ctx) }},
				{"kill of the engine", func() error { return errors.Join(h.KillEngine(ctx), h.StartEngine(ctx)) }},
				{"crash and boot", func() error { return errors.Join(h.Crash(ctx), h.Boot(ctx)) }},
			} {
				begin := time.Now()
				if err := step.do(); err != nil {
					t.Fatalf("%s: %v", step.name, err)
				}
				err := Poll(ctx, "the container", func() error {
					state, err := h.Docker(ctx, "inspect", "-f", "{{.State.Running}}", "again")
					if err == nil && state != "true" {
						err = fmt.Errorf("running is %s", state)
					}
					return err
				})
				if err != nil {
					t.Errorf("after the %s: %v", step.name, err)
				}
				t.Logf("%s: %.2f s", step.name, time.Since(begin).Seconds())
			}
		})
	}
}

func TestHost_crashLosesTheKernelsState(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	l := up(ctx, t, Engine2010)
	h := l.Host(1)
	must(t)(h.Exec(ctx, "ip", "link", "add", "left", "type", "bridge"))
	kept := []string{"/etc/kept", "/usr/local/kept"}
	for _, file := range kept {
		must(t)(h.Exec(ctx, "sh", "-c", "echo kept > "+file))
	}
	if err := errors.Join(h.Crash(ctx), h.Boot(ctx)); err != nil {
		t.Fatal(err)
	}
	if out, err := h.Exec(ctx, "ip", "link", "show", "left"); err == nil {
		t.Errorf("a link outlived the crash: %s", out)
	}
	for _, file := range kept {
		if out := must(t)(h.Exec(ctx, "cat", file)); out != "kept" {
			t.Errorf("%s of the host is %q after the crash", file, out)
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("a host's %s is the machine's", filepath.Dir(file))
		}
	}
}

func TestHost_cutsStopTrafficAndHealBringsItBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	l := up(ctx, t, Engine29, Engine29)
	server, err := l.ServerAddress(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	ping := func(target, patience string) error {
		_, err := l.Host(1).Exec(ctx, "ping", "-c1", "-W"+patience, target)
		return err
	}
	patience := map[bool]string{true: "10", false: "1"} // an answer that is wanted is waited for
	for _, tc := range []struct {
		name         string
		cut          func(context.Context) error
		peer, server bool // who still answers
	}{
		{"not cut", func(context.Context) error { return nil }, true, true},
		{"from all", l.Host(1).Cut, false, false},
		{"from hosts", l.Host(1).CutFromHosts, false, true},
		{"from the outside", l.Host(1).CutFromOutside, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.cut(ctx); err != nil {
				t.Fatal(err)
			}
			for target, want := range map[string]bool{
				l.Host(2).Address().String(): tc.peer, server.String(): tc.server, l.Outside.Address().String(): tc.server,
			} {
				if err := ping(target, patience[want]); (err == nil) != want {
					t.Errorf("that %s answers is %t (%v), want %t", target, err == nil, err, want)
				}
			}
			if err := l.Host(1).Heal(ctx); err != nil {
				t.Fatal(err)
			}
			for _, target := range []string{l.Host(2).Address().String(), server.String()} {
				if err := Poll(ctx, "an answer after the cut was healed", func() error { return ping(target, "1") }); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestLab_composeRunsOnEachEngine(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	l := up(ctx, t, Engines()...)
	if err := l.InstallCompose(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(file, []byte("services: {web: {image: busybox, command: sleep 1d, network_mode: none}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, h := range l.Hosts {
		if err := h.ImportImages(ctx); err != nil {
			t.Fatal(err)
		}
		must(t)(h.Docker(ctx, "compose", "--project-name", "p", "--file", file, "up", "--detach"))
		out := must(t)(h.Docker(ctx, "compose", "--project-name", "p", "--file", file, "ps", "--services", "--status", "running"))
		if out != "web" {
			t.Errorf("engine %s runs the services %q, want web", h.Engine, out)
		}
		must(t)(h.Docker(ctx, "compose", "--project-name", "p", "--file", file, "down"))
	}
}

func TestLab_downLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	l := up(ctx, t, Engines()...)
	for _, h := range l.Hosts {
		if err := h.ImportImages(ctx); err != nil {
			t.Error(err)
		}
		must(t)(h.Docker(ctx, "run", "-d", BusyboxImage, "sleep", "1d"))
	}
	assertMachineUntouched(t, l)
	spaces := namespaces(t, l)
	begin := time.Now()
	if err := l.Down(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("down in %.2f s", time.Since(begin).Seconds())
	for _, link := range glob(t, "/proc/[0-9]*/ns/*") {
		if ns, err := os.Readlink(link); err == nil && spaces[ns] {
			t.Errorf("%s is still of the lab", link)
		}
	}
	assertGone(t, l)
}

func TestUp_removesALabWhoseOwnerIsDead(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	l := up(ctx, t, Engine2010)
	l.mu.Lock()
	// No process has that start time.
	l.record.Owner = process{PID: os.Getpid(), Start: 1}
	err := l.record.write()
	l.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := reapStale(ctx, t.Logf); err != nil {
		t.Fatal(err)
	}
	assertGone(t, l)
}

func TestUp_withoutAnEngineNamesTheTarget(t *testing.T) {
	t.Parallel()
	_, err := Up(t.Context(), Config{Engines: []Engine{Engine29}, CacheDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "make engines") {
		t.Errorf("Up without engines: %v, want the make target", err)
	}
}

func TestParseCgroupMount(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, line string
		want       cgroupMount
		ok         bool
	}{
		{
			"version 2", "29 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate",
			cgroupMount{"cgroup2", "/sys/fs/cgroup", "rw"},
			true,
		},
		{
			"controllers", "30 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
			cgroupMount{"cgroup", "/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct"},
			true,
		},
		{
			"named", "31 24 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd",
			cgroupMount{"cgroup", "/sys/fs/cgroup/systemd", "none,name=systemd"},
			true,
		},
		{"part of a hierarchy", "31 24 0:28 /a /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", cgroupMount{}, false},
		{"another file system", "32 24 0:29 / /sys/fs/cgroup rw - tmpfs tmpfs rw", cgroupMount{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, ok := parseCgroupMount(tc.line)
			if got != tc.want || ok != tc.ok {
				t.Errorf("parseCgroupMount(%q) = %v, %v, want %v, %v", tc.line, got, ok, tc.want, tc.ok)
			}
		})
	}
}

// assertMachineUntouched reports what of the running lab shows in the machine's
// own namespaces.
func assertMachineUntouched(t *testing.T, l *Lab) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), l.Dir) {
		t.Errorf("the machine has mounts of the lab:\n%s", mounts)
	}
	links, err := filepath.Glob("/sys/class/net/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ubr0", l.Host(1).cable(), "docker0"} {
		if slices.Contains(links, "/sys/class/net/"+name) {
			t.Errorf("the machine has the lab's link %s", name)
		}
	}
}

// assertGone reports which of the files and groups of a lab are there.
func assertGone(t *testing.T, l *Lab) {
	t.Helper()
	var left []string
	for _, pattern := range []string{
		l.Dir, l.record.file(), "/sys/fs/cgroup/ournet-" + l.Name + "-*",
		"/sys/fs/cgroup/*/ournet-" + l.Name + "-*", "/run/netns/*" + l.Name + "*",
	} {
		left = append(left, glob(t, pattern)...)
	}
	if diff := cmp.Diff([]string(nil), left); diff != "" {
		t.Errorf("what is left of the lab (-want +got):\n%s", diff)
	}
}

// namespaces returns the namespaces of all of the lab's processes. The kernel gives a
// namespace's number to another one soon after its end, so they are held until the end
// of the test.
func namespaces(t *testing.T, l *Lab) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, m := range l.machines() {
		first, err := m.first()
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"mnt", "pid", "net", "uts", "ipc"} {
			held, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", first.PID, kind))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = held.Close() })
			ns, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", held.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			all[ns] = true
		}
	}
	return all
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return files
}
