package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// groups are the machine's control groups.
const groups = "/sys/fs/cgroup"

// group is a control group in which the kernel shares out the cores among those that are
// measured and the one who asks, as among equals. The engine, the plugin and this program
// have groups of their own, and who has which would else decide who waits for whom. Against
// everything else on the machine it has the greatest weight there is.
type group struct {
	dir string
	// from is the group that each process was taken out of.
	from map[int]string
}

// makeGroup makes one without a process.
func makeGroup(name string) (*group, error) {
	// Version 1 has a hierarchy for each controller, version 2 one for all.
	root, file, weight := groups+"/cpu", "cpu.shares", "262144"
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		root, file, weight = groups, "cpu.weight", "10000"
	}
	g := &group{dir: filepath.Join(root, name), from: make(map[int]string)}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a control group: %w", err)
	}
	if err := os.WriteFile(filepath.Join(g.dir, file), []byte(weight), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("set its weight: %w", err), g.remove())
	}
	return g, nil
}

// take moves a process, and those that it starts from now on, into the group.
func (g *group) take(pid int) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return fmt.Errorf("ask for the control group: %w", err)
	}
	path, err := cpuGroup(string(text))
	if err != nil {
		return err
	}
	g.from[pid] = filepath.Join(filepath.Dir(g.dir), path)
	return join(g.dir, pid)
}

// remove gives all processes back to where they came from. One that has ended is fine.
func (g *group) remove() error {
	var failed []error
	for pid, dir := range g.from {
		if err := join(dir, pid); err != nil && !errors.Is(err, unix.ESRCH) {
			failed = append(failed, err)
		}
	}
	if err := unix.Rmdir(g.dir); err != nil {
		failed = append(failed, fmt.Errorf("remove control group %s: %w", g.dir, err))
	}
	return errors.Join(failed...)
}

func join(dir string, pid int) error {
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		return fmt.Errorf("move process %d: %w", pid, err)
	}
	return nil
}

// cpuGroup returns the group that the kernel shares out the cores by, out of lines as
//
//	4:cpu,cpuacct:/path
//	0::/path
//
// of cgroups(7): that of the controller, or of version 2, which has no controllers there.
func cpuGroup(lines string) (string, error) {
	path, found := "", false
	for line := range strings.Lines(lines) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		if slices.Contains(strings.Split(fields[1], ","), "cpu") {
			return fields[2], nil
		}
		if fields[1] == "" {
			path, found = fields[2], true
		}
	}
	if !found {
		return "", fmt.Errorf("no control group in %q", lines)
	}
	return path, nil
}
