package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// firstServer is the number of the first address that [Lab.ServerAddress] gives: above
// those of the hosts, below the outside's own.
const firstServer = 241

// Cut unplugs the host's cable: the host runs on, alone.
func (h *Host) Cut(ctx context.Context) error { return h.setCable(ctx, "down") }

// CutFromHosts lets nothing pass between the host and the other hosts; the outside
// stays in reach.
func (h *Host) CutFromHosts(ctx context.Context) error {
	return h.drop(ctx, "hosts", "forward", "iifname", "oifname")
}

// CutFromOutside lets nothing pass between the host and the outside, with all servers
// that run there; the other hosts stay in reach.
func (h *Host) CutFromOutside(ctx context.Context) error {
	if err := h.drop(ctx, "outside-in", "input", "iifname"); err != nil {
		return err
	}
	return h.drop(ctx, "outside-out", "output", "oifname")
}

// Heal plugs the host's cable in again and undoes each cut.
func (h *Host) Heal(ctx context.Context) error {
	for _, kind := range []string{"hosts", "outside-in", "outside-out"} {
		// Not every nft can delete a table that may not be there.
		table := h.table(kind)
		if _, err := h.lab.Outside.inNet(ctx, "nft", "add table "+table+"; delete table "+table); err != nil {
			return err
		}
	}
	return h.setCable(ctx, "up")
}

// drop drops on a hook of the outside's bridge what comes from or goes to the host's
// cable, as the matches say. Connections are not told: their packets are lost.
func (h *Host) drop(ctx context.Context, kind, hook string, matches ...string) error {
	table := h.table(kind)
	rules := []string{
		"add table " + table,
		fmt.Sprintf("add chain %s cut { type filter hook %s priority 0; }", table, hook),
		fmt.Sprintf("flush chain %s cut", table),
	}
	for _, match := range matches {
		rules = append(rules, fmt.Sprintf("add rule %s cut %s %s drop", table, match, h.cable()))
	}
	_, err := h.lab.Outside.inNet(ctx, "nft", strings.Join(rules, "; "))
	return err
}

// table returns the name of the table of a cut, with its family.
func (h *Host) table(kind string) string { return "bridge " + h.Name + "-" + kind }

func (h *Host) setCable(ctx context.Context, state string) error {
	_, err := h.lab.Outside.inNet(ctx, "ip", "link", "set", h.cable(), state)
	return err
}

// ServerAddress gives the outside an address of its own for a server, the same for
// the same number, which is from 1 to 9.
func (l *Lab) ServerAddress(ctx context.Context, number int) (netip.Addr, error) {
	if number < 1 || number > outsideNumber-firstServer {
		return netip.Addr{}, fmt.Errorf("there is no server %s", strconv.Itoa(number))
	}
	addr := underlay(firstServer + number - 1)
	_, err := l.Outside.inNet(ctx, "ip", "address", "replace", addr.String()+"/24", "dev", "ubr0")
	return addr, err
}
