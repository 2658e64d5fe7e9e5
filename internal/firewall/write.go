package firewall

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// chunk is how many elements go into one message, whose attributes have 16 bit
// lengths; the largest element takes less than 200 bytes.
const chunk = 256

// possible leaves out what is for a table that the kernel cannot have.
func (t *Table) possible(d delta) delta {
	if len(t.lacks) == 0 {
		return d
	}
	var out delta
	for _, l := range t.layers() {
		out.remove = append(out.remove, l.of(d.remove)...)
		out.add = append(out.add, l.of(d.add)...)
	}
	return out
}

// layer is one of our tables: a family of nftables with the chains and sets that we
// have in it.
type layer struct {
	family nftables.TableFamily
	text   string // the family as nft names it
	chains []chain
	sets   []set
}

// layers returns our tables. The chains and sets have different names in each.
func layers() []layer {
	return []layer{
		{nftables.TableFamilyINet, "inet", wantChains(), wantSets()},
		{nftables.TableFamilyBridge, "bridge", sourceChains(), sourceSets()},
	}
}

// layers returns those of our tables that the kernel can have.
func (t *Table) layers() []layer {
	return slices.DeleteFunc(layers(), func(l layer) bool { return t.lacks[l.family] })
}

func (t *Table) table(l layer) *nftables.Table {
	return &nftables.Table{Name: t.name, Family: l.family}
}

// label names one of our tables for people.
func (t *Table) label(l layer) string { return fmt.Sprintf("nft table %s %s", l.text, t.name) }

// of returns those elements that are of the layer.
func (l layer) of(list []element) []element {
	return slices.DeleteFunc(slices.Clone(list), func(e element) bool {
		return !slices.ContainsFunc(l.sets, func(s set) bool { return s.name == e.set })
	})
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
	d = t.possible(d)
	return t.transact(func(c *nftables.Conn, sets map[string]*nftables.Set) error {
		if err := eachChunk(d.remove, func(name string, list []nftables.SetElement) error {
			return c.SetDeleteElements(sets[name], list)
		}); err != nil {
			return err
		}
		return addElements(c, sets, d.add)
	})
}

// transact has the kernel take what f says of the elements of our sets, all or nothing.
func (t *Table) transact(f func(c *nftables.Conn, sets map[string]*nftables.Set) error) error {
	c, err := connect()
	if err != nil {
		return err
	}
	sets, err := t.nftSets()
	if err != nil {
		return err
	}
	if err := f(c, sets); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("change elements of nft table %s: %w", t.name, err)
	}
	return nil
}

func addElements(c *nftables.Conn, sets map[string]*nftables.Set, all []element) error {
	return eachChunk(all, func(name string, list []nftables.SetElement) error { return c.SetAddElements(sets[name], list) })
}

// rebuild makes one of our tables anew with all its elements, in one transaction: a
// packet sees the old one or the new one. Its counters begin at 0 again.
func (t *Table) rebuild(l layer) error {
	c, err := connect()
	if err != nil {
		return err
	}
	table := c.AddTable(t.table(l))
	c.DelTable(table) // what was just added if nothing was there, so it cannot fail
	c.AddTable(table)
	sets, err := t.nftSets()
	if err != nil {
		return err
	}
	for _, s := range l.sets {
		if err := c.AddSet(sets[s.name], nil); err != nil {
			return fmt.Errorf("add nft set %s: %w", s.name, err)
		}
	}
	if err := addElements(c, sets, l.of(append(t.elements(), t.resolverElements()...))); err != nil {
		return err
	}
	for _, ch := range l.chains {
		c.AddChain(ch.nft(table))
	}
	for _, ch := range l.chains {
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
		return fmt.Errorf("make %s: %w", t.label(l), err)
	}
	t.passed = true
	return nil
}

func (t *Table) removeTables() error {
	var errs []error
	for _, l := range t.layers() {
		c, err := connect()
		if err != nil {
			return err
		}
		c.DelTable(c.AddTable(t.table(l)))
		if err := c.Flush(); err != nil && !lacksFamily(err) {
			errs = append(errs, fmt.Errorf("remove %s: %w", t.label(l), err))
		}
	}
	return errors.Join(errs...)
}

// lacksFamily reports whether the kernel was built without a family of tables, of
// which only "bridge" is a choice of its own (CONFIG_NF_TABLES_BRIDGE).
func lacksFamily(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)
}

func (t *Table) nftSets() (map[string]*nftables.Set, error) {
	out := make(map[string]*nftables.Set)
	for _, l := range t.layers() {
		for _, s := range l.sets {
			ns, err := s.nft(t.table(l), uint32(len(out))+1) //nolint:gosec // there are a few
			if err != nil {
				return nil, fmt.Errorf("nft set %s: %w", s.name, err)
			}
			out[s.name] = ns
		}
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
	for _, name := range slices.Sorted(maps.Keys(bySet)) {
		for part := range slices.Chunk(bySet[name], chunk) {
			if err := f(name, part); err != nil {
				return fmt.Errorf("nft set %s: %w", name, err)
			}
		}
	}
	return nil
}
