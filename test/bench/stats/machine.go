package stats

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is what the figures were measured on.
type Machine struct {
	CPU    string  `json:"cpu"`
	Cores  int     `json:"cores"`
	Memory float64 `json:"memory_gb"`
	Kernel string  `json:"kernel"`
	System string  `json:"system"`
	Go     string  `json:"go"`
	Date   string  `json:"date"`
	// Load is the machine's load average over the last minute when the
	// measurement began: what else ran.
	Load string `json:"load"`
}

// DescribeMachine looks at the machine that this runs on.
func DescribeMachine() (Machine, error) {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), Date: time.Now().UTC().Format("2006-01-02 15:04 UTC")}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return m, fmt.Errorf("ask for the kernel's version: %w", err)
	}
	m.Kernel = string(bytes.TrimRight(uts.Release[:], "\x00"))
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return m, fmt.Errorf("ask for the memory's size: %w", err)
	}
	m.Memory = float64(info.Totalram) * float64(info.Unit) / 1e9
	for _, f := range []struct {
		file, prefix string
		into         *string
	}{
		{"/proc/cpuinfo", "model name\t: ", &m.CPU},
		{"/etc/os-release", "PRETTY_NAME=", &m.System},
		{"/proc/loadavg", "", &m.Load},
	} {
		text, err := os.ReadFile(f.file)
		if err != nil {
			return m, fmt.Errorf("describe the machine: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, f.prefix); ok {
				*f.into = strings.Trim(value, "\"\n")
				break
			}
		}
	}
	m.Load, _, _ = strings.Cut(m.Load, " ")
	return m, nil
}

// String is a line for people.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %.0f GB; %s, kernel %s; %s; %s; load average at the start %s",
		m.CPU, m.Cores, m.Memory, m.System, m.Kernel, m.Go, m.Date, m.Load)
}
