package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
)

// kernelTable is our table as the kernel has it.
type kernelTable struct {
	// dormant says that it judges nothing: of the flags that a table may have only
	// that can be given to one that is there (NFT_TABLE_F_DORMANT).
	dormant bool
	// chains has what identifies each chain and its rules.
	chains map[string]string
	// sets has what identifies each set.
	sets     map[string]string
	elements []element
}

// read returns one of our tables, nil if there is none.
func (t *Table) read(l layer) (*kernelTable, error) {
	c, err := connect()
	if err != nil {
		return nil, err
	}
	table, err := c.ListTableOfFamily(t.name, l.family)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no table is an answer like any other
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", t.label(l), err)
	}
	have := &kernelTable{dormant: table.Flags != 0, chains: make(map[string]string), sets: make(map[string]string)}
	if err := have.readChains(c, table); err != nil {
		return nil, fmt.Errorf("read chains of %s: %w", t.label(l), err)
	}
	if err := have.readSets(c, table); err != nil {
		return nil, fmt.Errorf("read sets of %s: %w", t.label(l), err)
	}
	return have, nil
}

func (k *kernelTable) readChains(c *nftables.Conn, table *nftables.Table) error {
	chains, err := c.ListChainsOfTableFamily(table.Family)
	if err != nil {
		return err
	}
	for _, ch := range chains {
		if ch.Table.Name != table.Name {
			continue
		}
		rules, err := c.GetRules(table, ch)
		if err != nil {
			return err
		}
		var comments []string
		for _, r := range rules {
			text, _ := userdata.GetString(r.UserData, userdata.TypeComment) // none is a rule of someone else
			comments = append(comments, text)
		}
		k.chains[ch.Name] = chainIdentity(ch, comments)
	}
	return nil
}

func (k *kernelTable) readSets(c *nftables.Conn, table *nftables.Table) error {
	sets, err := c.GetSets(table)
	if err != nil {
		return err
	}
	for _, s := range sets {
		if s.Anonymous {
			continue // of a rule that is not ours, which is seen to itself
		}
		k.sets[s.Name] = setIdentity(s)
		if s.HasTimeout {
			continue // what comes and goes is not compared
		}
		elements, err := c.GetSetElements(s)
		if err != nil {
			return err
		}
		for _, e := range elements {
			k.elements = append(k.elements, element{set: s.Name, key: string(e.Key), end: e.IntervalEnd, val: string(e.Val)})
		}
	}
	return nil
}

func chainIdentity(c *nftables.Chain, comments []string) string {
	head := "regular"
	if c.Hooknum != nil && c.Priority != nil {
		head = fmt.Sprintf("%s hook %d priority %d", c.Type, *c.Hooknum, *c.Priority)
		if c.Policy != nil && *c.Policy != nftables.ChainPolicyAccept {
			head += " policy drop"
		}
	}
	return head + "\n" + strings.Join(comments, "\n")
}

func setIdentity(s *nftables.Set) string {
	return fmt.Sprintf("%d bytes to %d, map %t, interval %t, timeout %s",
		s.KeyType.Bytes, s.DataType.Bytes, s.IsMap, s.Interval, s.Timeout)
}

// structureDiff says what of a table is not as it should be, apart from elements.
func (t *Table) structureDiff(l layer, have *kernelTable) ([]string, error) {
	if have == nil {
		return []string{t.label(l) + " was missing"}, nil
	}
	if have.dormant {
		return []string{t.label(l) + " was dormant"}, nil
	}
	want := &kernelTable{chains: make(map[string]string), sets: make(map[string]string)}
	for _, c := range l.chains {
		var comments []string
		for _, r := range c.rules {
			text, err := r.comment()
			if err != nil {
				return nil, err
			}
			comments = append(comments, text)
		}
		want.chains[c.name] = chainIdentity(c.nft(nil), comments)
	}
	for _, s := range l.sets {
		ns, err := s.nft(nil, 0)
		if err != nil {
			return nil, err
		}
		want.sets[s.name] = setIdentity(ns)
	}
	wrong := append(t.mapDiff(l, "chain", have.chains, want.chains), t.mapDiff(l, "set", have.sets, want.sets)...)
	slices.Sort(wrong)
	return wrong, nil
}

func (t *Table) mapDiff(l layer, what string, have, want map[string]string) []string {
	var out []string
	for name, w := range want {
		h, ok := have[name]
		switch {
		case !ok:
			out = append(out, fmt.Sprintf("nft %s %s of table %s %s was missing", what, name, l.text, t.name))
		case h != w:
			out = append(out, fmt.Sprintf("nft %s %s of table %s %s was changed", what, name, l.text, t.name))
		}
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			out = append(out, fmt.Sprintf("nft %s %s of table %s %s was left over", what, name, l.text, t.name))
		}
	}
	return out
}

// describe says which sets were not as wanted.
func (t *Table) describe(l layer, d delta) []string {
	var out []string
	for _, s := range l.sets {
		count := func(list []element) (n int) {
			for _, e := range list {
				if e.set == s.name {
					n++
				}
			}
			return n
		}
		if add, remove := count(d.add), count(d.remove); add+remove > 0 {
			out = append(out, fmt.Sprintf("nft set %s of table %s %s: %d elements were missing, %d left over",
				s.name, l.text, t.name, add, remove))
		}
	}
	return out
}
