package lab

import (
	"context"
	"os"
	"path/filepath"
)

// Docker runs the engine's command line client against the host's engine and
// returns its standard output without the last newline. If it fails the error is a
// [*CommandError].
func (h *Host) Docker(ctx context.Context, args ...string) (string, error) {
	cmd := command(ctx, append([]string{filepath.Join(h.bin, "docker")}, args...))
	cmd.Env = h.clientEnv()
	return run(cmd, append([]string{"docker"}, args...))
}

// StartDocker is [Host.Docker] in the background.
func (h *Host) StartDocker(ctx context.Context, args ...string) (*Running, error) {
	cmd := command(ctx, append([]string{filepath.Join(h.bin, "docker")}, args...))
	cmd.Env = h.clientEnv()
	return background(cmd, append([]string{"docker"}, args...))
}

// Client returns the path of the engine's own command line client.
func (h *Host) Client() string { return filepath.Join(h.bin, "docker") }

// clientEnv points the client to the host's engine, and keeps the settings of the
// user who runs the lab out of it.
func (h *Host) clientEnv() []string {
	return append(os.Environ(), "DOCKER_HOST=unix://"+h.Socket(), "DOCKER_CONFIG="+h.lab.path("cli"),
		"DOCKER_CONTEXT=", "DOCKER_API_VERSION=", "DOCKER_TLS_VERIFY=")
}
