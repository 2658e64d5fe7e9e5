// Package engine is how ournet looks at the Docker Engine that it serves: which
// networks and endpoints the engine still knows, and when that changes.
//
// It must never be used inside a plugin verb: the engine waits for the verb and
// may hold locks that its API needs, so that both would wait for each other.
package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/moby/moby/client"
	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/backoff"
)

// socketPath is where every engine listens by default. Not /var/run: that is an
// absolute link, which below another root folder would lead out of it.
const socketPath = "run/docker.sock"

const (
	// callTimeout bounds one question. An engine that starts accepts
	// connections long before it answers them.
	callTimeout = 10 * time.Second
	// maxReply caps an answer in bytes; a network with a thousand containers
	// has 300 KiB.
	maxReply = 64 << 20
)

// ErrNotFound says that the engine has no such thing.
var ErrNotFound = errors.New("not found")

// Client asks an engine. It holds no connection between two questions, since the
// engine may be replaced by another version at any time. It is safe for many
// goroutines at once.
type Client struct {
	log    logrus.FieldLogger
	where  string       // for the text of errors
	target []client.Opt // which engine
	retry  backoff.Backoff
}

// New returns a client of the engine whose root folder is hostRoot. It does not
// connect: the engine starts its plugins before it answers.
func New(hostRoot string, log logrus.FieldLogger) *Client {
	socket := filepath.Join(hostRoot, socketPath)
	return &Client{
		log:    log,
		where:  "the engine at " + socket,
		target: []client.Opt{client.WithHost("unix://" + socket)},
		retry:  backoff.Backoff{First: 100 * time.Millisecond, Most: 10 * time.Second},
	}
}

// ForUser returns a client of the engine that the docker command asks: host, as in
// its --host, or if that is "" the one that DOCKER_HOST and the variables beside it
// tell of, or the usual one. It is for commands, not for the plugin, which has but
// one engine. It does not connect.
func ForUser(host string, log logrus.FieldLogger) *Client {
	c := New("/", log)
	c.where, c.target = "the engine", []client.Opt{client.FromEnv}
	if host != "" {
		c.where = "the engine at " + host
		c.target = append(c.target, client.WithHost(host))
	}
	return c
}

// session is a connection with a version of the API that both sides speak:
// Engine 20.10 ends at 1.41, and 29.0 began at 1.44, so no fixed one will do.
type session struct {
	api  *client.Client
	http *http.Client
}

// open starts a session; the caller closes it.
func (c *Client) open(ctx context.Context) (*session, error) {
	api, err := client.New(c.target...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.where, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return nil, errors.Join(fmt.Errorf("agree on an API version with %s: %w", c.where, err), api.Close())
	}
	dial := api.Dialer()
	return &session{api: api, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}}, nil
}

func (s *session) close() error {
	s.http.CloseIdleConnections()
	return s.api.Close()
}

// get reads one object of the API into value. The client library's own types are
// not used for it, because they refuse what older engines write: 20.10 gives the
// gateway of an IPv6 subnet with a prefix length, and one such network would make
// the whole list unreadable.
func (s *session) get(ctx context.Context, path string, value any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	status, err := s.send(ctx, http.MethodGet, path, nil, value)
	if err != nil && status == http.StatusNotFound {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}

// send sends a request with body, unless that is nil, and reads the answer into value,
// unless that is nil. It returns the status as well, 0 if there was no answer.
func (s *session) send(ctx context.Context, method, path string, body, value any) (status int, err error) {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return 0, fmt.Errorf("ask the engine for %s: %w", path, err)
		}
	}
	url := "http://" + client.DummyHost + "/v" + s.api.ClientVersion() + path
	req, err := http.NewRequestWithContext(ctx, method, url, &content)
	if err != nil {
		return 0, fmt.Errorf("ask the engine for %s: %w", path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask the engine for %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	reply := io.LimitReader(resp.Body, maxReply)
	switch {
	case resp.StatusCode/100 != 2:
		text, rerr := io.ReadAll(io.LimitReader(reply, 1<<10))
		return resp.StatusCode, errors.Join(fmt.Errorf("ask the engine for %s: %s", path, refusal(resp.Status, text)), rerr)
	case value == nil:
		return resp.StatusCode, nil
	}
	if err := json.NewDecoder(reply).Decode(value); err != nil {
		return resp.StatusCode, fmt.Errorf("read the engine's answer to %s: %w", path, err)
	}
	return resp.StatusCode, nil
}

// refusal returns what the engine says of why it did not do something.
func refusal(status string, text []byte) string {
	var said struct{ Message string }
	if json.Unmarshal(text, &said) == nil && said.Message != "" {
		return status + ": " + said.Message
	}
	return fmt.Sprintf("%s: %.200s", status, text)
}
