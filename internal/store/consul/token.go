package consul

import (
	"fmt"
	"os"
	"strings"
	"sync"
)

// token is the ACL token. One in a file is read for every request, which costs next
// to nothing, so that it can be replaced while ournet runs.
type token struct {
	file string

	mu    sync.Mutex // guards value
	value string
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
	raw, err := os.ReadFile(t.file)
	if err != nil {
		return err
	}
	value := strings.TrimSpace(string(raw))
	if value == "" {
		return fmt.Errorf("%s is empty", t.file)
	}
	t.value = value
	return nil
}
