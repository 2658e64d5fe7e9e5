package lab

import (
	"context"
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

// cgroupMount is a mounted hierarchy of control groups.
type cgroupMount struct {
	fsType  string // cgroup or cgroup2
	dir     string
	options string // for mount(8)
}

// cgroupMounts returns the machine's hierarchies: one for version 2, several for
// version 1, both where the two are mixed.
func cgroupMounts() ([]cgroupMount, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list control groups: %w", err)
	}
	var all []cgroupMount
	for line := range strings.Lines(string(text)) {
		if g, ok := parseCgroupMount(line); ok {
			all = append(all, g)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no control groups are mounted below /sys/fs/cgroup")
	}
	return all, nil
}

// parseCgroupMount reads a line of proc_pid_mountinfo(5):
//
//	31 29 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
func parseCgroupMount(line string) (cgroupMount, bool) {
	before, after, ok := strings.Cut(line, " - ")
	mount, super := strings.Fields(before), strings.Fields(after)
	if !ok || len(mount) < 5 || len(super) < 3 || mount[3] != "/" || !strings.HasPrefix(mount[4], "/sys/fs/cgroup") {
		return cgroupMount{}, false
	}
	g := cgroupMount{fsType: super[0], dir: mount[4]}
	switch g.fsType {
	case "cgroup2":
		g.options = "rw"
	case "cgroup":
		// The options of the file system are the controllers, or a name.
		options := slices.DeleteFunc(strings.Split(super[2], ","), func(o string) bool {
			return o == "rw" || o == "ro" || o == "xattr" || o == "clone_children" || strings.HasPrefix(o, "release_agent=")
		})
		if slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, "name=") }) {
			options = append([]string{"none"}, options...)
		}
		g.options = strings.Join(options, ",")
	default:
		return cgroupMount{}, false
	}
	return g, true
}

// makeCgroups makes a group of that name in every hierarchy.
func makeCgroups(name string) ([]cgroupMount, error) {
	groups, err := cgroupMounts()
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		dir := filepath.Join(g.dir, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make control group: %w", err)
		}
		if err := initCpuset(g.dir, dir); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// initCpuset gives a group of version 1 its parent's CPUs and memory nodes: it
// starts with none, and then takes no process (cgroup-v1/cpusets.rst, 1.1).
func initCpuset(parent, dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(parent, file))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another controller, or version 2
		}
		if err != nil {
			return fmt.Errorf("read the cpuset of %s: %w", parent, err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), value, 0); err != nil {
			return fmt.Errorf("set the cpuset of %s: %w", dir, err)
		}
	}
	return nil
}

// joinCgroups moves a process to the groups of that name.
func joinCgroups(groups []cgroupMount, name string, pid int) error {
	for _, g := range groups {
		file := filepath.Join(g.dir, name, "cgroup.procs")
		if err := os.WriteFile(file, []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("join control group: %w", err)
		}
	}
	return nil
}

// removeCgroups ends what still runs in the groups of that name and removes them
// with all groups below.
func removeCgroups(ctx context.Context, name string) error {
	groups, err := cgroupMounts()
	if err != nil {
		return err
	}
	for _, g := range groups {
		dir := filepath.Join(g.dir, name)
		err := Poll(ctx, "the removal of control group "+dir, func() error { return removeCgroup(dir) })
		if err != nil {
			return err
		}
	}
	return nil
}

func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list control group: %w", err)
	}
	if err := killCgroup(dir); err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove control group %s: %w", dir, err)
	}
	return nil
}

// killCgroup ends what a lab's owner left that was killed before it wrote down
// its machine's first process.
func killCgroup(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("list the processes of a control group: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			return fmt.Errorf("read process id: %w", err)
		}
		p, err := findProcess(pid)
		if err != nil || !inCgroup(pid, filepath.Base(dir)) {
			continue // it has ended, and its id may be another's by now
		}
		if err := p.signal(unix.SIGKILL); err != nil {
			return err
		}
	}
	return nil
}

// inCgroup reports whether a process is in a control group whose folder has that name
// (cgroups(7), /proc/pid/cgroup).
func inCgroup(pid int, name string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasSuffix(strings.TrimSpace(line), "/"+name) {
			return true
		}
	}
	return false
}
