package sandbox

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	chainOutput = "output"
	chainZones  = "zones"
	setPorts    = "ports"

	// priority is before the engine's rules, -100.
	priority = -110
	// priorityZones is before the kernel looks for the flow of a packet, -200.
	priorityZones = -300
)

// ports are where our sockets listen; 0 is not known.
type ports struct{ udp, tcp uint16 }

// table is our nftables table in one namespace, through a netlink socket that was
// opened there.
type table struct {
	conn  *nftables.Conn
	pulse *pulse
	opts  Options
	to    ports
}

// openTable returns the table of the namespace that the thread is in, without
// changing it.
func openTable(opts Options) (*table, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	t := &table{conn: conn, opts: opts}
	if t.pulse, err = openPulse(opts); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *table) close() {
	_ = t.conn.CloseLasting() // a socket that is closed twice is closed
	if t.pulse != nil {
		t.pulse.close()
	}
}

func (t *table) nft() *nftables.Table {
	return &nftables.Table{Name: t.opts.Name, Family: nftables.TableFamilyIPv4}
}

func (t *table) portSet() *nftables.Set {
	// The number tells it apart in a transaction. Without one the library takes the
	// next of a counter that it does not guard.
	return &nftables.Set{
		Table: t.nft(), Name: setPorts, ID: 1, KeyType: nftables.TypeInetService,
		HasTimeout: true, Timeout: t.opts.Timeout,
	}
}

// set makes the table as it should be, in one transaction: whatever was there, no
// packet sees half of it.
func (t *table) set() error {
	table, set := t.nft(), t.portSet()
	t.clear()
	t.conn.AddTable(table)
	if err := t.conn.AddSet(set, nil); err != nil {
		return fmt.Errorf("add set %s: %w", setPorts, err)
	}
	t.addChain(chainZones, nftables.ChainTypeFilter, priorityZones, t.zoneRules())
	t.addChain(chainOutput, nftables.ChainTypeNAT, priority, t.rules())
	err := t.conn.SetAddElements(set, []nftables.SetElement{{Key: binaryutil.BigEndian.PutUint16(dnsPort)}})
	if err != nil {
		return fmt.Errorf("add port: %w", err)
	}
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("set nft table ip %s: %w", t.opts.Name, err)
	}
	return nil
}

func (t *table) addChain(name string, kind nftables.ChainType, priority nftables.ChainPriority, rules [][]expr.Any) {
	chain := t.conn.AddChain(&nftables.Chain{
		Table: t.nft(), Name: name, Type: kind, Hooknum: nftables.ChainHookOutput, Priority: &priority,
	})
	for _, r := range rules {
		t.conn.AddRule(&nftables.Rule{Table: t.nft(), Chain: chain, Exprs: r})
	}
}

// renew is the heartbeat. If the table is not there, someone flushed it, and it is made
// anew.
func (t *table) renew() (made bool, err error) {
	err = t.pulse.beat()
	if errors.Is(err, unix.ENOENT) {
		return true, t.set()
	}
	if err != nil {
		return false, fmt.Errorf("renew nft table ip %s: %w", t.opts.Name, err)
	}
	return false, nil
}

// yield takes the port away; the rules stay.
func (t *table) yield() error {
	t.conn.FlushSet(t.portSet())
	if err := t.conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("empty nft set %s of table ip %s: %w", setPorts, t.opts.Name, err)
	}
	return nil
}

// remove takes the table away; if there is none, that is fine.
func (t *table) remove() error {
	t.clear()
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("remove nft table ip %s: %w", t.opts.Name, err)
	}
	return nil
}

// clear has the transaction begin without a table. One that is not there cannot be
// deleted, so it is added first.
func (t *table) clear() {
	t.conn.AddTable(t.nft())
	t.conn.DelTable(t.nft())
}

// removeTable takes the table out of a namespace that is not open as a sandbox.
func (s *Sandboxes) removeTable(ns *namespace) error {
	return ns.do(func() error {
		t, err := openTable(s.opts)
		if err != nil {
			return err
		}
		defer t.close()
		return t.remove()
	})
}
