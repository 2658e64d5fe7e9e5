package consultest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

// Server is one Consul process. Its methods are for one goroutine.
type Server struct {
	// Address is where it serves clients, host:port.
	Address string

	c    *Cluster
	addr netip.Addr
	dir  string
	cmd  *exec.Cmd
	gone chan struct{} // closed when the process has ended
}

func (c *Cluster) newServer(i int) (*Server, error) {
	addr := c.opts.Addresses[i]
	s := &Server{
		Address: netip.AddrPortFrom(addr, portHTTP).String(),
		c:       c,
		addr:    addr,
		dir:     filepath.Join(c.opts.Dir, "server"+strconv.Itoa(i)),
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	return s, c.configure(s, i)
}

// start starts the process and waits for nothing.
func (s *Server) start() error {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	argv := append(slices.Clone(s.c.opts.Enter), s.c.opts.Binary, "agent", "-config-file="+filepath.Join(s.dir, "config.json"))
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		// Pdeathsig comes when the thread ends that started the process (prctl(2)),
		// so that thread stays as long as the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- errors.Join(err, log.Close())
		if err == nil {
			_ = cmd.Wait() // it is killed, so it does not end well
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", s.c.opts.Binary, err)
	}
	s.cmd, s.gone = cmd, gone
	return nil
}

// kill ends the process; one that is gone is fine.
func (s *Server) kill() error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-s.gone
	s.cmd = nil
	return nil
}

// Kill ends the process with SIGKILL.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if err := s.kill(); err != nil {
		t.Fatalf("kill consul at %s: %v", s.Address, err)
	}
}

// Freeze stops the process with SIGSTOP: its connections stay, and it says nothing.
func (s *Server) Freeze(t testing.TB) { s.signal(t, syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (s *Server) Thaw(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("send %v to consul at %s: %v", sig, s.Address, err)
	}
}

// Begin begins a killed server again, with the data it had, and waits for nothing:
// servers that were all killed have a leader when a majority is back.
func (s *Server) Begin(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatalf("start consul at %s again: %v", s.Address, err)
	}
}

// Start is [Server.Begin], and returns when the server has a leader.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.Begin(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.ready(ctx); err != nil {
		t.Fatalf("start consul at %s again: %v", s.Address, err)
	}
}

// Wipe removes the data of a killed server.
func (s *Server) Wipe(t testing.TB) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(s.dir, "data")); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

// Log shows the last that the servers wrote.
func (c *Cluster) Log(t testing.TB) {
	t.Helper()
	for _, s := range c.Servers {
		raw, err := os.ReadFile(s.logFile())
		if err != nil {
			t.Errorf("read the log of consul: %v", err)
			continue
		}
		lines := bytes.Split(raw, []byte("\n"))
		t.Logf("consul at %s:\n%s", s.Address, bytes.Join(lines[max(0, len(lines)-30):], []byte("\n")))
	}
}
