package engine

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// PluginID finds the id under which the engine runs this plugin: the propagated
// mount at mountPoint comes from a folder of that name, plugins/<id>/propagated-mount
// (moby daemon/pkg/plugin/manager_linux.go). mountinfo is the text of
// /proc/self/mountinfo (proc_pid_mountinfo(5)). It is "" outside of a managed plugin.
func PluginID(mountinfo io.Reader, mountPoint string) (string, error) {
	id := ""
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		// 36 35 98:0 /root/in/its/file/system /mount/point …
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || fields[4] != mountPoint {
			continue
		}
		dir, last := path.Split(fields[3])
		name := path.Base(dir)
		if b, err := hex.DecodeString(name); last == "propagated-mount" && err == nil && len(b) == 32 {
			id = name // the last mount there is the one that is seen
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("read the mounts: %w", err)
	}
	return id, nil
}

// Runs reports whether the engine is the one that runs the plugin of that id. Two
// engines may share what we see of a host, and only our own knows what became of
// our networks.
func (c *Client) Runs(ctx context.Context, plugin string) (_ bool, err error) {
	s, err := c.open(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return s.runs(ctx, plugin)
}

func (s *session) runs(ctx context.Context, plugin string) (bool, error) {
	var list []struct {
		ID string `json:"Id"`
	}
	if err := s.get(ctx, "/plugins", &list); err != nil {
		return false, err
	}
	for _, p := range list {
		if p.ID == plugin {
			return true, nil
		}
	}
	return false, nil
}
