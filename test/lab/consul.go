package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// consulScript starts a server that ends with the machine it runs on.
const consulScript = `
mkdir -p "$2"
setsid "$1" agent -server -bootstrap-expect 1 -node outside -data-dir "$2/data" -bind "$3" -client "$3" \
	-serf-wan-port=-1 -hcl 'disable_update_check = true performance { raft_multiplier = 1 }' >"$2/log" 2>&1 </dev/null &`

// StartConsul starts a Consul server outside, which lasts as long as the lab, and
// returns where it serves clients once it does. Tests that do more with Consul have
// servers of their own.
func (l *Lab) StartConsul(ctx context.Context) (address string, err error) {
	program := filepath.Join(l.record.Cache, "bin", "consul")
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("consul is not built: run `make consul`: %w", err)
	}
	addr, err := l.ServerAddress(ctx, 1)
	if err != nil {
		return "", err
	}
	folder := filepath.Join(l.Outside.Dir(), "consul")
	if _, err := l.Outside.Exec(ctx, "sh", "-c", consulScript, "consul", program, folder, addr.String()); err != nil {
		return "", err
	}
	address = addr.String() + ":8500"
	err = Poll(ctx, "consul", func() error {
		_, err := l.Outside.Exec(ctx, program, "kv", "put", "-http-addr="+address, "lab", l.Name)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("%w; see %s/log", err, folder)
	}
	return address, nil
}
