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
		if err := ipt.Append(filterTable, f.chain, acceptRule()...); err != nil {
			return nil, err
		}
		changed = append(changed, fmt.Sprintf("%s chain %s was missing or changed", w.program, f.chain))
	}
	moved, err := f.placeJump(ipt)
	if moved {
		changed = append(changed, fmt.Sprintf("%s jump to %s was missing or in the wrong place", w.program, f.chain))
	}
	return changed, err
}

// acceptRule is the one rule of our chain.
func acceptRule() []string { return append(acceptMark(), "-j", "ACCEPT") }

// acceptMark matches packets that our nft chains let pass.
func acceptMark() []string {
	return []string{"-m", "mark", "--mark", fmt.Sprintf("0x%x/0x%x", markAccept, markAccept)}
}

func (f *forward) chainIsRight(ipt *iptables.IPTables) (bool, error) {
	if ok, err := f.chainExists(ipt); !ok || err != nil {
		return false, err
	}
	return isOurs(ipt, f.chain)
}

// isOurs reports whether a chain, which is there, has our one rule and no other.
func isOurs(ipt *iptables.IPTables, chain string) (bool, error) {
	rules, err := ipt.List(filterTable, chain)
	if err != nil {
		return false, err
	}
	want := []string{"-N " + chain, "-A " + chain + " " + strings.Join(acceptRule(), " ")}
	return slices.Equal(rules, want), nil
}

// chainExists asks for all chains: for a missing one, iptables-nft only has an error
// that it gives for other reasons as well ("is incompatible, use 'nft' tool").
func (f *forward) chainExists(ipt *iptables.IPTables) (bool, error) {
	chains, err := ipt.ListChains(filterTable)
	return slices.Contains(chains, f.chain), err
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
	if err := f.removeJumps(ipt); err != nil {
		return err
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
