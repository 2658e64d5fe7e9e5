package consul

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// token is the ACL token. One in a file is read again when the file changes, so that
// a token can be replaced while ournet runs.
type token struct {
	file string

	mu    sync.Mutex // guards all below
	value string
	size  int64
	mtime time.Time
}

func newToken(cfg Config) (*token, error) {
	t := &token{file: cfg.TokenFile, value: cfg.Token}
	if t.file == "" {
		return t, nil
	}
	if err := t.read(); err != nil {
		return nil, fmt.Errorf("ACL token: %w: set kv.tokenfile to a file that has it", err)
	}
	return t, nil
}

// get returns the token to use now. While the file cannot be read, because it is
// just being replaced, that is the one of before.
func (t *token) get() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != "" {
		_ = t.read() // Consul itself says when the old token does not do any more
	}
	return t.value
}

func (t *token) read() error {
	info, err := os.Stat(t.file)
	if err != nil {
		return err
	}
	if info.Size() == t.size && info.ModTime().Equal(t.mtime) {
		return nil
	}
	raw, err := os.ReadFile(t.file)
	if err != nil {
		return err
	}
	value := strings.TrimSpace(string(raw))
	if value == "" {
		return fmt.Errorf("%s is empty", t.file)
	}
	t.value, t.size, t.mtime = value, info.Size(), info.ModTime()
	return nil
}
