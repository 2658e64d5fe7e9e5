package main

import "testing"

func TestCPUGroup(t *testing.T) {
	for _, tc := range []struct{ name, lines, want string }{
		{"version 1", "3:cpuset:/a\n2:cpu,cpuacct:/b\n1:name=systemd:/c\n0::/d\n", "/b"},
		{"version 2", "0::/system.slice/docker.service\n", "/system.slice/docker.service"},
		{"a colon in the path", "4:cpu:/a:b\n", "/a:b"},
	} {
		if got, err := cpuGroup(tc.lines); err != nil || got != tc.want {
			t.Errorf("%s: got %q, %v; want %q", tc.name, got, err, tc.want)
		}
	}
	if _, err := cpuGroup("3:cpuset:/a\n"); err == nil {
		t.Error("no error where there is no such group")
	}
}
