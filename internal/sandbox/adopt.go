package sandbox

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// ports returns where the rules of an earlier process lead to. The kernel goes on to
// translate a client's socket as it did before, so new sockets had better be there.
func (t *table) ports() (ports, error) {
	rules, err := t.conn.GetRules(t.nft(), &nftables.Chain{Name: chainOutput})
	if errors.Is(err, unix.ENOENT) {
		return ports{}, nil
	}
	if err != nil {
		return ports{}, fmt.Errorf("read nft table ip %s: %w", t.opts.Name, err)
	}
	var p ports
	for _, r := range rules {
		protocol, port := readRule(r.Exprs)
		switch protocol {
		case unix.IPPROTO_UDP:
			p.udp = port
		case unix.IPPROTO_TCP:
			p.tcp = port
		}
	}
	return p, nil
}

// readRule reads what [table.rule] wrote. What is something else is not ours to read.
func readRule(exprs []expr.Any) (protocol byte, port uint16) {
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Cmp:
			if len(e.Data) == 1 {
				protocol = e.Data[0]
			}
		case *expr.Immediate:
			// The kernel fills the register up.
			if e.Register == regPort && len(e.Data) >= 2 {
				port = binaryutil.BigEndian.Uint16(e.Data)
			}
		}
	}
	return protocol, port
}
