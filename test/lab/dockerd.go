package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// engineScript starts the engine in the host's own control groups: a process that
// enters the host's namespaces from outside is in its caller's.
const engineScript = `
if [ -e /sys/fs/cgroup/init ]; then echo 0 >/sys/fs/cgroup/init/cgroup.procs
else for f in /sys/fs/cgroup/*/cgroup.procs; do echo 0 >"$f"; done
fi
exec "$@"`

// Socket returns the path of the engine's socket, as DOCKER_HOST=unix://... wants
// it. It is the same after every boot.
func (h *Host) Socket() string { return filepath.Join(h.Dir(), "docker.sock") }

func (h *Host) logFile() string { return filepath.Join(h.Dir(), "dockerd.log") }

// Logs returns all that the engine has logged, with the plugins' own lines, over
// all of its starts.
func (h *Host) Logs() (string, error) {
	text, err := os.ReadFile(h.logFile())
	if err != nil {
		return "", fmt.Errorf("read the engine's log: %w", err)
	}
	return string(text), nil
}

// StartEngine starts the engine and returns when it answers.
func (h *Host) StartEngine(ctx context.Context) error {
	h.power.Lock()
	defer h.power.Unlock()
	return h.startEngine(ctx)
}

// StopEngine asks the engine to end, which stops its containers first, and waits
// until it has.
func (h *Host) StopEngine(ctx context.Context) error { return h.endEngine(ctx, unix.SIGTERM) }

// KillEngine ends the engine's daemon at once (SIGKILL). Containers and plugins
// run on until it starts again.
func (h *Host) KillEngine(ctx context.Context) error { return h.endEngine(ctx, unix.SIGKILL) }

// RestartEngine is StopEngine and StartEngine.
func (h *Host) RestartEngine(ctx context.Context) error {
	if err := h.StopEngine(ctx); err != nil {
		return err
	}
	return h.StartEngine(ctx)
}

func (h *Host) startEngine(ctx context.Context) error {
	logFile, err := os.OpenFile(h.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open the engine's log: %w", err)
	}
	defer logFile.Close() //nolint:errcheck // the engine writes it, by a descriptor of its own
	argv := []string{
		"/bin/sh", "-c", engineScript, "engine", filepath.Join(h.bin, "dockerd"),
		"-H", "unix:///var/run/docker.sock", "-H", "unix://" + h.Socket(),
	}
	argv = append(append(argv, h.lab.record.DockerdArgs...), h.Engine.args()...)
	// The engine outlives the call that starts it.
	cmd, err := h.command(context.WithoutCancel(ctx), argv)
	if err != nil {
		return err
	}
	cmd.Cancel, cmd.WaitDelay = nil, 0
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = append(os.Environ(), "PATH="+h.bin+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the engine of %s: %w", h.Name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := h.waitEngine(ctx, ended); err != nil {
		return fmt.Errorf("start engine %s of %s: %w\n%s", h.Engine, h.Name, err, h.logTail())
	}
	return nil
}

// waitEngine waits until the engine answers a ping. ended gets how it ended.
func (h *Host) waitEngine(ctx context.Context, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- Poll(ctx, "the engine's answer", func() error { return h.Ping(ctx) }) }()
	select {
	case err := <-ready:
		return err
	case err := <-ended:
		cancel()
		return errors.Join(fmt.Errorf("it ended: %w", err), <-ready)
	}
}

// Ping asks the engine for a sign of life.
func (h *Host) Ping(ctx context.Context) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", h.Socket())
	}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/_ping", http.NoBody)
	if err != nil {
		return fmt.Errorf("ping the engine: %w", err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ping the engine: %w", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("ping the engine: %w", err)
	}
	if string(body) != "OK" {
		return fmt.Errorf("ping the engine: it says %s %q", resp.Status, body)
	}
	return nil
}

// EnginePID returns the id of the engine's daemon, as the lab's owner sees it.
func (h *Host) EnginePID() (int, error) {
	p, err := h.engineProcess()
	return p.PID, err
}

func (h *Host) engineProcess() (process, error) {
	first, err := h.first()
	if err != nil {
		return process{}, err
	}
	p, err := findByFile(first, fmt.Sprintf("/proc/%d/root/run/docker.pid", first.PID))
	if err != nil {
		return process{}, fmt.Errorf("find the engine of %s: %w", h.Name, err)
	}
	return p, nil
}

// findByFile returns the process whose id, as the machine sees it, is in the file.
func findByFile(first process, file string) (process, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return process{}, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return process{}, fmt.Errorf("read process id in %s: %w", file, err)
	}
	return findInner(first, pid)
}

func (h *Host) endEngine(ctx context.Context, sig unix.Signal) error {
	h.power.Lock()
	defer h.power.Unlock()
	p, err := h.engineProcess()
	if err != nil {
		return err
	}
	if err := p.signal(sig); err != nil {
		return err
	}
	// A new engine refuses to start while anybody has the id in docker.pid.
	if err := p.waitReaped(ctx); err != nil {
		return fmt.Errorf("end the engine of %s: %w\n%s", h.Name, err, h.logTail())
	}
	return nil
}

// logTail returns the last lines of the engine's log, for an error's text.
func (h *Host) logTail() string {
	text, err := h.Logs()
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
