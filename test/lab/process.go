package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process names a process for good: ids are used again, but not with the same
// start time.
type process struct {
	PID int `json:"pid"`
	// Start is in clock ticks since the machine's boot (proc(5), stat, field 22).
	Start uint64 `json:"start"`
}

// findProcess returns the process that has that id now.
func findProcess(pid int) (process, error) {
	_, start, err := readStat(pid)
	if err != nil {
		return process{}, fmt.Errorf("find process %d: %w", pid, err)
	}
	return process{PID: pid, Start: start}, nil
}

// readStat returns the state letter and the start time of a process.
func readStat(pid int) (state byte, start uint64, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The command, field 2, is in parentheses and may contain anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat has %d fields after the command", pid, len(fields))
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return fields[0][0], start, err
}

// alive reports whether the process runs. One that has ended and was not waited
// for does not.
func (p process) alive() bool {
	state, start, err := readStat(p.PID)
	return err == nil && start == p.Start && state != 'Z' && state != 'X'
}

// signal sends sig; a process that is gone is fine.
func (p process) signal(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", p.PID, err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	// The descriptor holds whoever has the id now; only then is it compared.
	if !p.alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send %v to process %d: %w", sig, p.PID, err)
	}
	return nil
}

// kill ends the process and waits until it is gone.
func (p process) kill(ctx context.Context) error {
	if err := p.signal(unix.SIGKILL); err != nil {
		return err
	}
	return p.wait(ctx)
}

// wait waits until the process has ended.
func (p process) wait(ctx context.Context) error {
	return Poll(ctx, fmt.Sprintf("the end of process %d", p.PID), func() error {
		if p.alive() {
			return errors.New("it still runs")
		}
		return nil
	})
}

// waitReaped waits until nothing of the process is left, its id included.
func (p process) waitReaped(ctx context.Context) error {
	return Poll(ctx, fmt.Sprintf("the id of process %d to be free", p.PID), func() error {
		if _, start, err := readStat(p.PID); err == nil && start == p.Start {
			return errors.New("nobody has waited for it yet")
		}
		return nil
	})
}

// findInner returns the process that has the id inner in the process namespace of
// the process first.
func findInner(first process, inner int) (process, error) {
	want, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", first.PID))
	if err != nil {
		return process{}, fmt.Errorf("read the process namespace: %w", err)
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return process{}, fmt.Errorf("list processes: %w", err)
	}
	for _, dir := range dirs {
		ns, err := os.Readlink(dir + "/ns/pid")
		if err != nil || ns != want {
			continue // gone meanwhile, or of someone else
		}
		if got, err := innerPID(dir); err == nil && got == inner {
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil {
				return process{}, fmt.Errorf("read process id: %w", err)
			}
			return findProcess(pid)
		}
	}
	return process{}, fmt.Errorf("process %d of the host: %w", inner, fs.ErrNotExist)
}

// innerPID returns a process's id in its own process namespace: the last one of
// the line NSpid (proc(5)).
func innerPID(dir string) (int, error) {
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(ids)
			return strconv.Atoi(fields[len(fields)-1])
		}
	}
	return 0, fmt.Errorf("%s/status has no line NSpid", dir)
}
