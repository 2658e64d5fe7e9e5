package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"
	"github.com/google/nftables"
)

const (
	filterTable  = "filter"
	forwardChain = "FORWARD"
	// userChain is where the engine lets administrators put their own rules.
	userChain = "DOCKER-USER"
	// engineChains begin the names of the engine's own chains.
	engineChains = "DOCKER"
	// iptablesTimeout bounds the wait for the lock of iptables-legacy, in seconds.
	iptablesTimeout = 5
)

// chainName returns the name of our iptables chain.
func chainName(name string) string { return strings.ToUpper(name) + "-" + forwardChain }

// world is one of the up to four rule sets that iptables programs know. A packet
// goes through all of them that are there for its family.
type world struct {
	// program is the name of the binary.
	program string
	proto   iptables.Protocol
	legacy  bool
}

func worlds() []world {
	return []world{
		{"iptables-nft", iptables.ProtocolIPv4, false},
		{"ip6tables-nft", iptables.ProtocolIPv6, false},
		{"iptables-legacy", iptables.ProtocolIPv4, true},
		{"ip6tables-legacy", iptables.ProtocolIPv6, true},
	}
}

// forward keeps our rule in the FORWARD chains of the host.
type forward struct {
	chain  string
	binDir string
	tables map[string]*iptables.IPTables // by program, as they are needed
	legacy *legacy
}

func newForward(chain, binDir string) *forward {
	return &forward{chain: chain, binDir: binDir, tables: make(map[string]*iptables.IPTables), legacy: newLegacy()}
}

// ensure puts our chain and the jump to it where a FORWARD chain is, and returns
// what was not right.
//
// Which variant the engine uses is the host's choice (update-alternatives), and a
// host may even have rules in both. So each that has a FORWARD chain gets ours. In
// none there is nothing that could keep our packets, and nothing is made.
func (f *forward) ensure() ([]string, error) {
	var (
		changed []string
		errs    []error
	)
	for _, w := range worlds() {
		inUse, err := w.inUse()
		if err == nil && inUse {
			var did []string
			did, err = f.ensureIn(w)
			changed = append(changed, did...)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("set %s chain %s: %w", w.program, f.chain, err))
		}
	}
	f.legacy.leave()
	return changed, errors.Join(errs...)
}

// inUse reports whether the world has a FORWARD chain, without making one: the
// programs themselves make tables when they only look at them.
func (w world) inUse() (bool, error) {
	if w.legacy {
		// The tables of the namespace of this thread; there is no such file until
		// the kernel's module is loaded.
		name := map[iptables.Protocol]string{iptables.ProtocolIPv4: "ip_tables_names", iptables.ProtocolIPv6: "ip6_tables_names"}[w.proto]
		b, err := os.ReadFile("/proc/thread-self/net/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return slices.Contains(strings.Fields(string(b)), filterTable), err
	}
	family := nftables.TableFamilyIPv4
	if w.proto == iptables.ProtocolIPv6 {
		family = nftables.TableFamilyIPv6
	}
	c, err := connect()
	if err != nil {
		return false, err
	}
	chains, err := c.ListChainsOfTableFamily(family)
	if err != nil {
		return false, fmt.Errorf("list nft chains: %w", err)
	}
	return slices.ContainsFunc(chains, func(c *nftables.Chain) bool {
		return c.Table.Name == filterTable && c.Name == forwardChain && c.Hooknum != nil
	}), nil
}

func (f *forward) ensureIn(w world) ([]string, error) {
	ipt, err := f.open(w)
	if err != nil {
		return nil, err
	}
	var changed []string
	if ok, err := f.chainIsRight(ipt); err != nil {
		return nil, err
	} else if !ok {
		// Makes the chain, or empties it.
		if err := ipt.ClearChain(filterTable, f.chain); err != nil {
			return nil, err
		}
		if err := ipt.Append(filterTable, f.chain, f.rule()...); err != nil {
			return nil, err
		}
		changed = append(changed, fmt.Sprintf("%s chain %s was missing or changed", w.program, f.chain))
	}
	rules, err := ipt.List(filterTable, forwardChain)
	if err != nil {
		return changed, err
	}
	did, err := f.placeJump(ipt, rules)
	if did != "" {
		changed = append(changed, w.program+" "+did)
	}
	return changed, err
}

func (f *forward) rule() []string {
	mark := fmt.Sprintf("0x%x/0x%x", markAccept, markAccept)
	return []string{"-m", "mark", "--mark", mark, "-j", "ACCEPT"}
}

func (f *forward) chainIsRight(ipt *iptables.IPTables) (bool, error) {
	if ok, err := f.chainExists(ipt); !ok || err != nil {
		return false, err
	}
	rules, err := ipt.List(filterTable, f.chain)
	if err != nil {
		return false, err
	}
	want := []string{"-N " + f.chain, "-A " + f.chain + " " + strings.Join(f.rule(), " ")}
	return slices.Equal(rules, want), nil
}

// chainExists asks for all chains: for a missing one, iptables-nft only has an error
// that it gives for other reasons as well ("is incompatible, use 'nft' tool").
func (f *forward) chainExists(ipt *iptables.IPTables) (bool, error) {
	chains, err := ipt.ListChains(filterTable)
	return slices.Contains(chains, f.chain), err
}

// placeJump puts the jump to our chain where it belongs. rules are those of
// FORWARD as iptables lists them: the policy, then one line per rule.
func (f *forward) placeJump(ipt *iptables.IPTables, rules []string) (did string, err error) {
	at, old := jumpPlan(onlyRules(rules), f.chain)
	if at > 0 {
		// The new one first, so that there is always one.
		if err := ipt.Insert(filterTable, forwardChain, at, "-j", f.chain); err != nil {
			return "", err
		}
		did = "jump to " + f.chain + " was missing or in the wrong place"
	}
	for _, number := range slices.Backward(old) {
		if at > 0 && number >= at {
			number++
		}
		if err := ipt.DeleteById(filterTable, forwardChain, number); err != nil {
			return did, err
		}
		did = "jump to " + f.chain + " was missing or in the wrong place"
	}
	return did, nil
}

// jumpPlan says where to insert the jump (0: it stands well), counting from 1, and
// the numbers of the rules to delete.
//
// It stands well behind DOCKER-USER's jump, if there is one, and behind nothing but
// jumps to the engine's chains, which leave our packets alone. The engine puts its
// chains first again whenever it starts; to be content there keeps the two from
// moving each other about.
func jumpPlan(rules []string, chain string) (at int, remove []int) {
	jump, engine := jumpTo(chain), jumpTo(engineChains)
	first := slices.Index(rules, jumpTo(userChain)) + 1 // behind it, or at the start
	good := -1
	for i := first; i < len(rules) && good < 0; i++ {
		if rules[i] == jump {
			good = i
		}
		if !strings.HasPrefix(rules[i], engine) {
			break
		}
	}
	for i, r := range rules {
		if r == jump && i != good {
			remove = append(remove, i+1)
		}
	}
	if good < 0 {
		at = first + 1
	}
	return at, remove
}

// jumpTo returns the jump from FORWARD to a chain as iptables lists it.
func jumpTo(chain string) string { return "-A " + forwardChain + " -j " + chain }

// onlyRules leaves the policy out of a listing.
func onlyRules(listing []string) []string {
	return slices.DeleteFunc(slices.Clone(listing), func(r string) bool { return !strings.HasPrefix(r, "-A ") })
}

// remove takes the jump and the chain out of every world that has a FORWARD chain.
func (f *forward) remove() error {
	var errs []error
	for _, w := range worlds() {
		inUse, err := w.inUse()
		if err == nil && inUse {
			err = f.removeFrom(w)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove %s chain %s: %w", w.program, f.chain, err))
		}
	}
	return errors.Join(errs...)
}

func (f *forward) removeFrom(w world) error {
	ipt, err := f.open(w)
	if err != nil {
		return err
	}
	if ok, err := f.chainExists(ipt); !ok || err != nil {
		return err // without the chain there cannot be a jump to it
	}
	rules, err := ipt.List(filterTable, forwardChain)
	if err != nil {
		return err
	}
	for number, r := range slices.Backward(onlyRules(rules)) {
		if r != jumpTo(f.chain) {
			continue
		}
		if err := ipt.DeleteById(filterTable, forwardChain, number+1); err != nil {
			return err
		}
	}
	return ipt.ClearAndDeleteChain(filterTable, f.chain)
}

func (f *forward) open(w world) (*iptables.IPTables, error) {
	if ipt, ok := f.tables[w.program]; ok {
		return ipt, nil
	}
	ipt, err := iptables.New(iptables.Path(path.Join(f.binDir, w.program)),
		iptables.IPFamily(w.proto), iptables.Timeout(iptablesTimeout))
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", w.program, err)
	}
	f.tables[w.program] = ipt
	return ipt, nil
}
