package firewall

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
)

// attempts bounds the comparisons of one sync: between a look at the kernel and the
// change, someone else may change our table too.
const attempts = 3

// socketBuffer is room for the kernel's answers to one transaction, in bytes.
const socketBuffer = 4 << 20

// connect returns the way to nftables. The socket is opened for each exchange, so
// that no late answer of an exchange that failed is taken for one of the next.
func connect() (*nftables.Conn, error) {
	c, err := nftables.New(nftables.WithSockOptions(bigBuffers))
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return c, nil
}

func bigBuffers[C interface {
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}](c C) error {
	return errors.Join(c.SetReadBuffer(socketBuffer), c.SetWriteBuffer(socketBuffer))
}

// sync makes the kernel exactly as t.state says, and returns what was different.
func (t *Table) sync(ctx interface{ Err() error }) ([]string, error) {
	changed, err := t.syncTable(ctx)
	if err != nil {
		return changed, err
	}
	moved, err := t.forward.ensure()
	return append(changed, moved...), err
}

func (t *Table) syncTable(ctx interface{ Err() error }) ([]string, error) {
	var (
		changed []string
		err     error
	)
	for range attempts {
		if cerr := ctx.Err(); cerr != nil {
			return changed, errors.Join(cerr, err)
		}
		var (
			have  *kernelTable
			wrong []string
		)
		if have, err = t.read(); err != nil {
			continue
		}
		if wrong, err = t.structureDiff(have); err != nil {
			return changed, err
		}
		if len(wrong) > 0 {
			changed = append(changed, wrong...)
			err = t.rebuild()
			continue // and see that it took
		}
		d := difference(have.elements, t.state.elements())
		if len(d.add) == 0 && len(d.remove) == 0 {
			return changed, nil
		}
		changed = append(changed, t.describe(d)...)
		err = t.apply(d)
	}
	if err == nil {
		err = errors.New("it is changed by someone else all the time")
	}
	return changed, fmt.Errorf("set nft table inet %s: %w", t.name, err)
}
