package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// CommandError is the error of a command that ran and did not succeed.
type CommandError struct {
	// Args is the command as it was asked for.
	Args []string
	// Output is what it wrote to both its outputs, the standard one first.
	Output string
	// Err is how it ended.
	Err error
}

// Error returns the command, how it ended, and what it wrote.
func (e *CommandError) Error() string {
	return fmt.Sprintf("%s: %v: %s", strings.Join(e.Args, " "), e.Err, strings.TrimSpace(e.Output))
}

// Unwrap returns how the command ended.
func (e *CommandError) Unwrap() error { return e.Err }

// command returns argv ready to run, in a process group of its own, which ends as
// a whole when ctx does: nsenter forks, and its child would stay otherwise.
func command(ctx context.Context, argv []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func killGroup(cmd *exec.Cmd, sig syscall.Signal) error {
	err := syscall.Kill(-cmd.Process.Pid, sig)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// run runs cmd to its end and returns its standard output without the last
// newline. asked is what the error calls it.
func run(cmd *exec.Cmd, asked []string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", &CommandError{Args: asked, Output: stdout.String() + stderr.String(), Err: err}
	}
	return strings.TrimSuffix(stdout.String(), "\n"), nil
}

// Running is a command in the background.
type Running struct {
	cmd  *exec.Cmd
	args []string
	done chan struct{}

	mu  sync.Mutex // guards out
	out bytes.Buffer
	err error // set before done is closed
}

// background starts cmd; both outputs are collected.
func background(cmd *exec.Cmd, asked []string) (*Running, error) {
	r := &Running{cmd: cmd, args: asked, done: make(chan struct{})}
	w := &lockedWriter{mu: &r.mu, w: &r.out}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", strings.Join(asked, " "), err)
	}
	go func() {
		defer close(r.done)
		r.err = cmd.Wait()
	}()
	return r, nil
}

// Output returns what the command has written so far.
func (r *Running) Output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String()
}

// Wait waits for the end of the command and returns its output.
func (r *Running) Wait() (string, error) {
	<-r.done
	if r.err != nil {
		return "", &CommandError{Args: r.args, Output: r.Output(), Err: r.err}
	}
	return r.Output(), nil
}

// Stop asks the command to end (SIGTERM), waits until it has, and returns its
// output. That it ended by the signal is no error.
func (r *Running) Stop() (string, error) {
	select {
	case <-r.done: // its id may be another's by now
	default:
		if err := killGroup(r.cmd, syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return "", fmt.Errorf("stop %s: %w", strings.Join(r.args, " "), err)
		}
	}
	out, err := r.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGTERM {
			return r.Output(), nil
		}
	}
	return out, err
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
