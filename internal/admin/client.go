package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"
)

const (
	// askTimeout bounds one question that changes nothing. The plugin answers from memory.
	askTimeout = 5 * time.Second
	// maxReply caps an answer in bytes; ten thousand published ports are 1.5 MB.
	maxReply = 32 << 20
)

// Sentinel errors of [Client]; test them with [errors.Is].
var (
	// ErrNotRunning says that nobody listens on the plugin's socket.
	ErrNotRunning = errors.New("the plugin is not running")
	// ErrPermission says that the caller may not talk to the plugin.
	ErrPermission = errors.New("permission denied")
	// ErrUnknown says that the plugin has no such path.
	ErrUnknown = errors.New("the plugin does not know the question")
)

// Client asks one plugin. It holds no connection between two questions.
type Client struct {
	socket  string
	timeout time.Duration // askTimeout, less in tests
}

// New returns a client of the plugin that listens on socket; see [SocketPath].
func New(socket string) *Client { return &Client{socket: socket, timeout: askTimeout} }

// Networks asks for all networks with their endpoints and published ports.
func (c *Client) Networks(ctx context.Context) (Networks, error) {
	var n Networks
	err := c.get(ctx, NetworksPath, &n)
	return n, err
}

// get reads the answer to path into value.
func (c *Client) get(ctx context.Context, path string, value any) error {
	return c.ask(ctx, http.MethodGet, path, value)
}

// ask reads the answer to path into value, unless that is nil.
func (c *Client) ask(ctx context.Context, method, path string, value any) (err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "http://plugin"+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("ask the plugin at %s for %s: %w", c.socket, path, err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask the plugin at %s: %w", c.socket, classify(err))
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body := &io.LimitedReader{R: resp.Body, N: maxReply}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return fmt.Errorf("ask the plugin at %s for %s: %w", c.socket, path, ErrUnknown)
	default:
		text, rerr := io.ReadAll(io.LimitReader(body, 4<<10))
		return errors.Join(fmt.Errorf("ask the plugin at %s for %s: %s", c.socket, path, refusal(resp.Status, text)), rerr)
	}
	if value == nil {
		return nil
	}
	err = json.NewDecoder(body).Decode(value)
	switch {
	case err == nil:
		return nil
	case body.N == 0:
		return fmt.Errorf("the answer of the plugin at %s to %s is larger than %d MiB", c.socket, path, maxReply>>20)
	default:
		return fmt.Errorf("read the answer of the plugin at %s to %s: %w", c.socket, path, err)
	}
}

// refusal returns the plugin's own words, if it has any.
func refusal(status string, text []byte) string {
	var said struct{ Err string }
	if json.Unmarshal(text, &said) == nil && said.Err != "" {
		return said.Err
	}
	return fmt.Sprintf("%s: %.200s", status, text)
}

// classify gives an error of connecting its sentinel.
func classify(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrPermission, err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		// A plugin that was killed leaves its socket.
		return fmt.Errorf("%w: %w", ErrNotRunning, err)
	default:
		return err
	}
}
