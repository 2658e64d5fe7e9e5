package firewall

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
)

// attempts bounds the comparisons of one sync: between a look at the kernel and the
// change, someone else may change our table too. After them it is made anew.
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

// sync makes the kernel exactly as t.states say, and returns what was different.
func (t *Table) sync(ctx interface{ Err() error }) ([]string, error) {
	var changed []string
	for _, l := range t.layers() {
		did, err := t.syncTable(ctx, l)
		changed = append(changed, did...)
		if err != nil {
			return changed, err
		}
	}
	moved, err := t.forward.ensure()
	return append(changed, moved...), err
}

func (t *Table) syncTable(ctx interface{ Err() error }, l layer) ([]string, error) {
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
		if have, err = t.read(l); err != nil {
			continue
		}
		if wrong, err = t.structureDiff(l, have); err != nil {
			return changed, err
		}
		if len(wrong) > 0 {
			if err = t.rebuild(l); lacksFamily(err) {
				t.doWithout(l, err)
				return changed, nil
			}
			changed = append(changed, wrong...)
			continue // and see that it took
		}
		d := t.missing(difference(have.elements, l.of(t.elements())))
		if len(d.add) == 0 && len(d.remove) == 0 {
			return changed, nil
		}
		changed = append(changed, t.describe(l, d)...)
		err = t.apply(d)
	}
	// Whoever it is changes it as quickly as we look. To make all of it anew depends on
	// nothing that they do, and what they do to it later is for the next comparison.
	if rerr := t.rebuild(l); rerr != nil {
		return changed, fmt.Errorf("set %s: %w", t.label(l), errors.Join(err, rerr))
	}
	return append(changed, t.label(l)+" was changed by someone else all the time"), nil
}

// elements returns everything that our sets should hold.
func (s *shared) elements() []element {
	var all []element
	for _, st := range s.states {
		all = append(all, st.elements()...)
	}
	return all
}

// missing leaves out what is left over, as long as that is not known.
func (s *shared) missing(d delta) delta {
	if slices.ContainsFunc(s.states, func(st *state) bool { return !st.told }) {
		d.remove = nil
	}
	return d
}

// doWithout gives up one of our tables, which this kernel cannot have. Networks work
// without that for sources; only nobody checks them.
func (t *Table) doWithout(l layer, err error) {
	t.lacks[l.family] = true
	t.log.WithError(err).Warnf("this kernel has no nft tables of family %s (CONFIG_NF_TABLES_BRIDGE): "+
		"containers are not kept from sending with another's address", l.text)
}
