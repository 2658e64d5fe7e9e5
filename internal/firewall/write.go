package firewall

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
)

// chunk is how many elements go into one message, whose attributes have 16 bit
// lengths; the largest element takes less than 200 bytes.
const chunk = 256

func (t *Table) table() *nftables.Table {
	return &nftables.Table{Name: t.name, Family: nftables.TableFamilyINet}
}

func (c chain) nft(t *nftables.Table) *nftables.Chain {
	out := &nftables.Chain{Name: c.name, Table: t}
	if c.hook != nil {
		policy := nftables.ChainPolicyAccept
		out.Type, out.Hooknum, out.Policy = c.kind, c.hook, &policy
		out.Priority = new(c.priority)
	}
	return out
}

// apply changes elements in one transaction.
func (t *Table) apply(d delta) error {
	c, err := connect()
	if err != nil {
		return err
	}
	sets, err := t.nftSets()
	if err != nil {
		return err
	}
	if err := eachChunk(d.remove, func(name string, list []nftables.SetElement) error {
		return c.SetDeleteElements(sets[name], list)
	}); err != nil {
		return err
	}
	if err := eachChunk(d.add, func(name string, list []nftables.SetElement) error {
		return c.SetAddElements(sets[name], list)
	}); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("change elements of nft table inet %s: %w", t.name, err)
	}
	return nil
}

// rebuild makes the table anew with all its elements, in one transaction: a packet
// sees the old one or the new one.
func (t *Table) rebuild() error {
	c, err := connect()
	if err != nil {
		return err
	}
	table := c.AddTable(t.table())
	c.DelTable(table) // what was just added if nothing was there, so it cannot fail
	c.AddTable(table)
	sets, err := t.nftSets()
	if err != nil {
		return err
	}
	for _, s := range wantSets() {
		if err := c.AddSet(sets[s.name], nil); err != nil {
			return fmt.Errorf("add nft set %s: %w", s.name, err)
		}
	}
	if err := eachChunk(t.state.elements(), func(name string, list []nftables.SetElement) error {
		return c.SetAddElements(sets[name], list)
	}); err != nil {
		return err
	}
	chains := wantChains()
	for _, ch := range chains {
		c.AddChain(ch.nft(table))
	}
	for _, ch := range chains {
		for _, r := range ch.rules {
			text, err := r.comment()
			if err != nil {
				return err
			}
			c.AddRule(&nftables.Rule{
				Table: table, Chain: ch.nft(table), Exprs: r.exprs,
				UserData: userdata.AppendString(nil, userdata.TypeComment, text),
			})
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("make nft table inet %s: %w", t.name, err)
	}
	return nil
}

func (t *Table) removeTable() error {
	c, err := connect()
	if err != nil {
		return err
	}
	c.DelTable(c.AddTable(t.table()))
	if err := c.Flush(); err != nil {
		return fmt.Errorf("remove nft table inet %s: %w", t.name, err)
	}
	return nil
}

func (t *Table) nftSets() (map[string]*nftables.Set, error) {
	table := t.table()
	out := make(map[string]*nftables.Set)
	for i, s := range wantSets() {
		ns, err := s.nft(table, uint32(i)+1)
		if err != nil {
			return nil, fmt.Errorf("nft set %s: %w", s.name, err)
		}
		out[s.name] = ns
	}
	return out, nil
}

// eachChunk calls f for each set with a part of its elements, in a fixed order.
//
// In a set of intervals the order matters: the kernel wants a start before its end,
// and of two that touch the one's end before the other's start.
func eachChunk(list []element, f func(set string, list []nftables.SetElement) error) error {
	list = slices.SortedFunc(slices.Values(list), func(a, b element) int {
		if c := strings.Compare(a.key, b.key); c != 0 || a.end == b.end {
			return c
		}
		if a.end {
			return -1
		}
		return 1
	})
	bySet := make(map[string][]nftables.SetElement)
	for _, e := range list {
		bySet[e.set] = append(bySet[e.set], e.nft())
	}
	for _, s := range wantSets() {
		for part := range slices.Chunk(bySet[s.name], chunk) {
			if err := f(s.name, part); err != nil {
				return fmt.Errorf("nft set %s: %w", s.name, err)
			}
		}
	}
	return nil
}
