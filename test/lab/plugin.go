package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// InstallPlugin makes a managed plugin out of dir, which has a config.json and a
// folder rootfs, and enables it with the settings, each like NAME=value.
func (h *Host) InstallPlugin(ctx context.Context, dir, name string, settings ...string) error {
	if _, err := h.Docker(ctx, "plugin", "create", name, dir); err != nil {
		return err
	}
	if len(settings) > 0 {
		if _, err := h.Docker(ctx, append([]string{"plugin", "set", name}, settings...)...); err != nil {
			return err
		}
	}
	_, err := h.Docker(ctx, "plugin", "enable", name)
	return err
}

const (
	// commandName is what follows "docker" for the operator's command.
	commandName = "ournet"
	// CommandFile is where [Host.InstallCommand] puts it, as `make install` does.
	CommandFile = "/usr/local/lib/docker/cli-plugins/docker-ournet"
)

// InstallCommand puts the operator's command, the program file, where the host's
// docker client finds it.
func (h *Host) InstallCommand(ctx context.Context, file string) error {
	_, err := h.Exec(ctx, "install", "-D", "-m", "755", file, CommandFile)
	return err
}

// InstallCompose lets [Host.Docker] run "docker compose" on every host.
func (l *Lab) InstallCompose() error {
	program := filepath.Join(l.record.Cache, "bin", "docker-compose")
	if _, err := os.Stat(program); err != nil {
		return fmt.Errorf("compose is not built: run `make compose`: %w", err)
	}
	folder := l.path("cli", "cli-plugins")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make the folder of the client's plugins: %w", err)
	}
	if err := os.Symlink(program, filepath.Join(folder, "docker-compose")); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("install compose: %w", err)
	}
	return nil
}

// BuiltCommand returns the path of the operator's command as `make plugin` builds it.
func BuiltCommand() (string, error) {
	build, err := BuildDir()
	if err != nil {
		return "", err
	}
	file := filepath.Join(build, "bin", runtime.GOARCH, "docker-ournet")
	if _, err := os.Stat(file); err != nil {
		return "", fmt.Errorf("the command is not built: run `make plugin`: %w", err)
	}
	return file, nil
}

// PluginPID returns the id of the plugin's process, as the lab's owner sees it.
func (h *Host) PluginPID(ctx context.Context, name string) (int, error) {
	p, err := h.pluginProcess(ctx, name)
	return p.PID, err
}

// KillPlugin ends the plugin's process at once (SIGKILL). The engine starts it
// again by itself.
func (h *Host) KillPlugin(ctx context.Context, name string) error {
	p, err := h.pluginProcess(ctx, name)
	if err != nil {
		return err
	}
	return p.kill(ctx)
}

func (h *Host) pluginProcess(ctx context.Context, name string) (process, error) {
	id, err := h.Docker(ctx, "plugin", "inspect", "--format", "{{.Id}}", name)
	if err != nil {
		return process{}, err
	}
	first, err := h.first()
	if err != nil {
		return process{}, err
	}
	// containerd keeps a folder per task; the plugins have a namespace to themselves.
	pattern := fmt.Sprintf("/proc/%d/root/run/docker/containerd/daemon/io.containerd.runtime.v*/plugins.moby/%s/init.pid", first.PID, id)
	files, err := filepath.Glob(pattern)
	if err != nil {
		return process{}, fmt.Errorf("find the process of plugin %s: %w", name, err)
	}
	if len(files) != 1 {
		return process{}, fmt.Errorf("plugin %s of %s has %d processes, not one (%s)", name, h.Name, len(files), pattern)
	}
	p, err := findByFile(first, files[0])
	if err != nil {
		return process{}, fmt.Errorf("find the process of plugin %s: %w", name, err)
	}
	return p, nil
}
