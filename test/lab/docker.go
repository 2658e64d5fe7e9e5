package lab

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
)

// Docker runs the engine's command line client against the host's engine and
// returns its standard output without the last newline. If it fails the error is a
// [*CommandError].
func (h *Host) Docker(ctx context.Context, args ...string) (string, error) {
	cmd, err := h.docker(ctx, args)
	if err != nil {
		return "", err
	}
	return run(cmd, append([]string{"docker"}, args...))
}

// StartDocker is [Host.Docker] in the background.
func (h *Host) StartDocker(ctx context.Context, args ...string) (*Running, error) {
	cmd, err := h.docker(ctx, args)
	if err != nil {
		return nil, err
	}
	return background(cmd, append([]string{"docker"}, args...))
}

// docker returns a call of the client. A socket is all that it needs of the host,
// so it runs beside the lab's owner, which is quicker; but what is a plugin of the
// client's own is installed on the host, and looks at it.
func (h *Host) docker(ctx context.Context, args []string) (*exec.Cmd, error) {
	argv := append([]string{h.Client()}, args...)
	cmd := command(ctx, argv)
	if len(args) > 0 && args[0] == commandName {
		var err error
		if cmd, err = h.command(ctx, argv); err != nil {
			return nil, err
		}
	}
	cmd.Env = h.clientEnv()
	return cmd, nil
}

// Client returns the path of the engine's own command line client.
func (h *Host) Client() string { return filepath.Join(h.bin, "docker") }

// clientEnv points the client to the host's engine, and keeps the settings of the
// user who runs the lab out of it.
func (h *Host) clientEnv() []string {
	return append(os.Environ(), "DOCKER_HOST=unix://"+h.Socket(), "DOCKER_CONFIG="+h.lab.path("cli"),
		"DOCKER_CONTEXT=", "DOCKER_API_VERSION=", "DOCKER_TLS_VERIFY=")
}
