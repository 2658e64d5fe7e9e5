package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// coresUsed is how many cores the one who asks and the one who answers share.
const coresUsed = 2

// cores returns them: the first that this process may use.
func cores() ([]int, error) {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return nil, fmt.Errorf("ask for the cores: %w", err)
	}
	var all []int
	for i := 0; len(all) < min(coresUsed, may.Count()); i++ {
		if may.IsSet(i) {
			all = append(all, i)
		}
	}
	return all, nil
}

// pin lets all threads of a process use these cores only. Threads to come have it from
// those that make them.
func pin(pid int) error {
	use, err := cores()
	if err != nil {
		return err
	}
	var only unix.CPUSet
	for _, i := range use {
		only.Set(i)
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(tasks) == 0 {
		return fmt.Errorf("process %d is gone: %w", pid, errors.Join(err, os.ErrNotExist))
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			return fmt.Errorf("read a thread's id: %w", err)
		}
		if err := unix.SchedSetaffinity(id, &only); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("choose the cores of process %d: %w", pid, err)
		}
	}
	return nil
}

// cpu returns what a process has used, which the kernel tells in hundredths of a second.
func cpu(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("ask for the CPU: %w", err)
	}
	// The name of the program, in brackets, may have spaces.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("read %q", text)
	}
	var ticks int
	for _, field := range fields[11:13] { // utime, stime: proc_pid_stat(5)
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, fmt.Errorf("read %q: %w", text, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
