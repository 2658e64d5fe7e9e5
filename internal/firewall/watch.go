package firewall

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// legacyEvery is how often iptables-legacy's rules are looked at, of which the kernel
// tells nobody when they change.
const legacyEvery = 500 * time.Millisecond

// Watch calls heard when a program other than this one changes what may concern us:
// our tables, and where iptables has its FORWARD chain that chain and ours. by names
// the program. It returns when ctx ends.
//
// Most changes on a host are of no concern, above all those that an engine makes to
// its own chains with each container; they are left out without a look at the kernel.
// What is heard is a reason to compare ([Table.Set]), not a finding.
//
// All of it is done in the network namespace of the calling thread.
func (t *Table) Watch(ctx context.Context, heard func(by string)) error {
	self, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		return fmt.Errorf("watch the packet filter: %w", err)
	}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("watch the packet filter: %w", err)
	}
	if err := errors.Join(conn.SetReadBuffer(socketBuffer), conn.JoinGroup(unix.NFNLGRP_NFTABLES)); err != nil {
		return errors.Join(fmt.Errorf("watch the packet filter: %w", err), conn.Close())
	}
	stop := context.AfterFunc(ctx, func() {
		if err := conn.Close(); err != nil {
			t.log.WithError(err).Debug("end the watch of the packet filter")
		}
	})
	w := watcher{
		table: t.name, chain: t.forward.chain, self: strings.TrimSpace(string(self)), heard: heard,
		legacy: t.forward.legacy,
	}
	err = w.receive(ctx, conn)
	if stop() {
		err = errors.Join(err, conn.Close())
	}
	return err
}

// watcher reads the kernel's messages about nftables.
type watcher struct {
	table, chain string
	self         string // the name of this process, as the kernel has it
	heard        func(by string)
	legacy       *legacy
	// concerned says that the transaction that is being told of concerns us.
	concerned bool
}

func (w *watcher) receive(ctx context.Context, conn *netlink.Conn) error {
	look := time.Now()
	for {
		if now := time.Now(); !now.Before(look) {
			w.lookAtLegacy()
			look = now.Add(w.legacy.every)
		}
		err := conn.SetReadDeadline(look)
		var msgs []netlink.Message
		if err == nil {
			msgs, err = conn.Receive()
		}
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the socket was closed to end this
		case errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, unix.ENOBUFS):
			// The kernel dropped messages for want of space and goes on (netlink(7)).
			w.heard("too much at once to be told of")
		case err != nil:
			return fmt.Errorf("watch the packet filter: %w", err)
		}
		for _, m := range msgs {
			w.message(m)
		}
	}
}

// message takes one message. The kernel tells of all parts of a transaction, then of
// the generation of the rule set that it made, with the name of the process
// (nf_tables_gen_notify).
func (w *watcher) message(m netlink.Message) {
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || len(m.Data) < 4 {
		return
	}
	kind := int(m.Header.Type & 0xff)
	attrs, err := netlink.UnmarshalAttributes(m.Data[4:]) // behind struct nfgenmsg
	if err != nil {
		w.concerned = true // something that we cannot read may be anything
		return
	}
	if kind != unix.NFT_MSG_NEWGEN {
		w.concerned = w.concerned || w.concerns(nftables.TableFamily(m.Data[0]), kind, attrs)
		return
	}
	by := text(attrs, unix.NFTA_GEN_PROC_NAME)
	if w.concerned && by != w.self {
		w.heard(by)
	}
	w.concerned = false
}

// concerns reports whether a change is of anything that we keep.
func (w *watcher) concerns(family nftables.TableFamily, kind int, attrs []netlink.Attribute) bool {
	table := text(attrs, unix.NFTA_TABLE_NAME) // the same number in all kinds
	if family == nftables.TableFamilyINet || family == nftables.TableFamilyBridge {
		return table == w.table
	}
	if family != nftables.TableFamilyIPv4 && family != nftables.TableFamilyIPv6 || table != filterTable {
		return false
	}
	chain := ""
	switch kind {
	case unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_DELTABLE:
		return true
	case unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_DELCHAIN:
		chain = text(attrs, unix.NFTA_CHAIN_NAME)
	case unix.NFT_MSG_NEWRULE, unix.NFT_MSG_DELRULE:
		chain = text(attrs, unix.NFTA_RULE_CHAIN)
	}
	return chain == forwardChain || chain == w.chain
}

func text(attrs []netlink.Attribute, kind uint16) string {
	i := slices.IndexFunc(attrs, func(a netlink.Attribute) bool { return a.Type == kind })
	if i < 0 {
		return ""
	}
	return strings.TrimRight(string(attrs[i].Data), "\x00")
}

func (w *watcher) lookAtLegacy() {
	for _, by := range w.legacy.changed() {
		w.heard(by)
	}
}
