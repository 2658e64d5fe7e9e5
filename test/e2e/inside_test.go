package e2e

import (
	"context"
	"errors"
	"strconv"

	"github.com/ournet/ournet/test/lab"
)

// Docker is [lab.Host.Docker], but for `docker exec CONTAINER COMMAND...`: that the test
// does itself, as [host.in] says. Tests ask containers more than all else, and most of
// what an engine needs for it is the start of its client and of its runtime.
func (h *host) Docker(ctx context.Context, args ...string) (string, error) {
	if args[0] == "exec" {
		return h.in(ctx, args[1], args[2:]...)
	}
	return h.Host.Docker(ctx, args...)
}

// in runs a command in a container, with its files, its processes, its network and the
// environment that an image has by default, and returns what it printed. It has all
// capabilities.
func (h *host) in(ctx context.Context, container string, argv ...string) (string, error) {
	var c inhabitant
	if err := h.ask("/containers/"+container+"/json", &c); err != nil {
		return "", err
	}
	if !c.State.Running {
		return "", &lab.CommandError{Args: argv, Output: container + " does not run", Err: errors.New("no process to join")}
	}
	enter := []string{
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
		"nsenter", "-t", strconv.Itoa(c.State.Pid), "-m", "-u", "-i", "-n", "-p", "--",
	}
	return h.Exec(ctx, append(enter, argv...)...)
}
