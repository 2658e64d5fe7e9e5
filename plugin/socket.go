package plugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// socketMode lets root alone in: the engine runs as root, and who can talk to a
// network plugin can rearrange the host's network.
const socketMode = 0o600

// Listen opens a unix socket at path. It takes the place of whatever socket is
// there in one step, so that an engine that looks at any moment finds one that
// answers. Closing the listener removes the socket, unless another one has taken
// its place meanwhile.
func Listen(path string) (net.Listener, error) {
	// Not with the ending .sock: the engine takes every such file for a plugin.
	temp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d", filepath.Base(path), os.Getpid()))
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	info, err := publishSocket(temp, path)
	if err != nil {
		// temp is gone if the rename was what worked.
		rerr := os.Remove(temp)
		if errors.Is(rerr, fs.ErrNotExist) {
			rerr = nil
		}
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), l.Close(), rerr)
	}
	return &socket{UnixListener: l, path: path, info: info}, nil
}

// isServed reports whether some process listens at path. One that was killed
// leaves its socket there, but nobody who would answer.
func isServed(ctx context.Context, path string) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return errors.Is(err, unix.EAGAIN) // its backlog is full
	}
	_ = conn.Close() // nothing was written
	return true
}

// publishSocket gives the socket at temp its mode and its name.
func publishSocket(temp, path string) (fs.FileInfo, error) {
	if err := os.Chmod(temp, socketMode); err != nil {
		return nil, err
	}
	info, err := os.Lstat(temp)
	if err != nil {
		return nil, err
	}
	return info, os.Rename(temp, path)
}

// socket is a listener that knows its file.
type socket struct {
	*net.UnixListener

	path string
	info fs.FileInfo
}

// Addr returns the path that engines know, not the temporary one.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

// Close stops listening and removes the file if it is still ours. Between the
// look and the removal another process may take the name; the plugin is started
// again only after it has ended, so nobody does.
func (s *socket) Close() error {
	err := s.UnixListener.Close()
	if errors.Is(err, net.ErrClosed) {
		return err
	}
	now, serr := os.Lstat(s.path)
	if serr != nil {
		if errors.Is(serr, fs.ErrNotExist) {
			serr = nil
		}
		return errors.Join(err, serr)
	}
	if !os.SameFile(now, s.info) {
		return err
	}
	return errors.Join(err, os.Remove(s.path))
}
