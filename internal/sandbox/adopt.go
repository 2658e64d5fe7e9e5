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
// translate a client's socket as it did before, so new sockets had better be there. Not
// so with versions that had no zones: what they have left of flows would be in the way,
// and their chain has another name.
func (t *table) ports() (ports, error) {
	conn, err := nftables.New()
	if err != nil {
		return ports{}, fmt.Errorf("open nftables: %w", err)
	}
	rules, err := conn.GetRules(&nftables.Table{Name: t.name(), Family: nftables.TableFamilyIPv4}, &nftables.Chain{Name: chainQueries})
	if errors.Is(err, unix.ENOENT) {
		return ports{}, nil
	}
	if err != nil {
		return ports{}, fmt.Errorf("read nft table ip %s: %w", t.name(), err)
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

// readRule reads what [table.rules] are. What is something else is not ours to read.
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
