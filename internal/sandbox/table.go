package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	setPorts     = "ports"
	chainZones   = "zones"
	chainQueries = "queries"

	// priorityZones is before the kernel looks for the flow of a packet, -200, and before
	// rules of the container's that give zones, in iptables' table raw, -300: the first
	// that does so decides.
	priorityZones = -310
	// priorityQueries is before the engine's rules, -100.
	priorityQueries = -110

	// typeInetService is the kind of a set's keys, for those who list them
	// (nftables, include/datatype.h).
	typeInetService = 13
)

// ports are where our sockets listen; 0 is not known.
type ports struct{ udp, tcp uint16 }

// table is our nftables table in one namespace.
type table struct {
	of      *Sandboxes
	channel channel
	to      ports
}

// openTable returns the table of the namespace that the thread is in, without
// changing it.
func (s *Sandboxes) openTable() (*table, error) {
	c, err := openChannel()
	if err != nil {
		return nil, err
	}
	return &table{of: s, channel: c}, nil
}

func (t *table) close() { t.channel.close() }

func (t *table) name() string { return t.of.opts.Name }

// set makes the table as it should be, in one transaction: whatever was there, no
// packet sees half of it.
func (t *table) set() error {
	zones := !t.of.zoneless.Load()
	err := t.apply(zones)
	if zones && errors.Is(err, unix.EOPNOTSUPP) {
		if err = t.apply(false); err == nil && !t.of.zoneless.Swap(true) {
			t.of.log.Warn("this kernel has no conntrack zones (CONFIG_NF_CONNTRACK_ZONES): a program that keeps one UDP socket for its lookups may miss names after the plugin was away")
		}
	}
	if err != nil {
		return fmt.Errorf("set nft table ip %s: %w", t.name(), err)
	}
	return nil
}

func (t *table) apply(zones bool) error {
	orders := append(t.clear(),
		order{unix.NFT_MSG_NEWTABLE, create, text(unix.NFTA_TABLE_NAME, t.name())},
		order{unix.NFT_MSG_NEWSET, create, slices.Concat(
			text(unix.NFTA_SET_TABLE, t.name()), text(unix.NFTA_SET_NAME, setPorts),
			number(unix.NFTA_SET_FLAGS, unix.NFT_SET_TIMEOUT),
			number(unix.NFTA_SET_KEY_TYPE, typeInetService), number(unix.NFTA_SET_KEY_LEN, 2), number(unix.NFTA_SET_ID, 1),
			attribute(unix.NFTA_SET_TIMEOUT, binary.BigEndian.AppendUint64(nil, uint64(t.of.opts.Timeout.Milliseconds()))), //nolint:gosec // it is above 0
		)},
		t.chain(chainZones, "filter", priorityZones),
		t.chain(chainQueries, "nat", priorityQueries),
	)
	for _, r := range t.rules(zones) {
		o, err := r.order(t.name())
		if err != nil {
			return err
		}
		orders = append(orders, o)
	}
	return t.of.send(t.channel, transaction(append(orders, addPort(t.name()))...))
}

// chain is one of the way of packets that the namespace sends.
func (t *table) chain(name, kind string, priority int32) order {
	return order{unix.NFT_MSG_NEWCHAIN, create, slices.Concat(
		text(unix.NFTA_CHAIN_TABLE, t.name()), text(unix.NFTA_CHAIN_NAME, name),
		nested(unix.NFTA_CHAIN_HOOK,
			number(unix.NFTA_HOOK_HOOKNUM, unix.NF_INET_LOCAL_OUT),
			number(unix.NFTA_HOOK_PRIORITY, uint32(priority)), //nolint:gosec // it is signed there
		),
		text(unix.NFTA_CHAIN_TYPE, kind),
	)}
}

// renew is the heartbeat. If the table is not there, someone flushed it, and it is made
// anew.
func (t *table) renew() (made bool, err error) {
	err = t.of.send(t.channel, t.of.pulse)
	if errors.Is(err, unix.ENOENT) {
		return true, t.set()
	}
	if err != nil {
		return false, fmt.Errorf("renew nft table ip %s: %w", t.name(), err)
	}
	return false, nil
}

// yield takes the port away; the rules stay.
func (t *table) yield() error {
	err := t.of.send(t.channel, transaction(emptySet(t.name())))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("empty nft set %s of table ip %s: %w", setPorts, t.name(), err)
	}
	return nil
}

// remove takes the table away; if there is none, that is fine.
func (t *table) remove() error {
	if err := t.of.send(t.channel, transaction(t.clear()...)); err != nil {
		return fmt.Errorf("remove nft table ip %s: %w", t.name(), err)
	}
	return nil
}

// clear has the transaction begin without a table. One that is not there cannot be
// deleted, so it is added first.
func (t *table) clear() []order {
	name := text(unix.NFTA_TABLE_NAME, t.name())
	return []order{{unix.NFT_MSG_NEWTABLE, create, name}, {unix.NFT_MSG_DELTABLE, 0, name}}
}

// renewal is the heartbeat: it gives the port its time anew. Kernels before 6.12 do not
// renew the time of an element that is there, so it is taken away first.
func renewal(table string) []byte { return transaction(emptySet(table), addPort(table)) }

func emptySet(table string) order {
	return order{unix.NFT_MSG_DELSETELEM, 0, inSet(table)}
}

func addPort(table string) order {
	return order{unix.NFT_MSG_NEWSETELEM, create, append(inSet(table),
		nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS,
			nested(unix.NFTA_LIST_ELEM,
				nested(unix.NFTA_SET_ELEM_KEY, attribute(unix.NFTA_DATA_VALUE, []byte{0, dnsPort}))))...)}
}

func inSet(table string) []byte {
	return append(text(unix.NFTA_SET_ELEM_LIST_TABLE, table), text(unix.NFTA_SET_ELEM_LIST_SET, setPorts)...)
}

// removeTable takes the table out of a namespace that is not open as a sandbox.
func (s *Sandboxes) removeTable(ns *namespace) error {
	return ns.do(func() error {
		t, err := s.openTable()
		if err != nil {
			return err
		}
		defer t.close()
		return t.remove()
	})
}
