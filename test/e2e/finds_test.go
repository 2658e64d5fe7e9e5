package e2e

import (
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ournet/ournet/test/lab"
)

//go:embed lookup.sh
var lookupScript string

// noSuchName is what each resolver of lookup.sh says, after how it ended, of a name that
// nobody has.
var noSuchName = map[string]string{
	"go": "no such host", "glibc": "2 ", "musl": "Name does not resolve", "busybox": "NXDOMAIN",
	"dig": "status: NXDOMAIN", "dig-tcp": "status: NXDOMAIN",
}

// finds asserts that each kind of resolver leads from the name to exactly these addresses
// in the container, once what has just been done is known; with none, that each says that
// nobody has the name.
func (h *host) finds(container, name string, want ...string) {
	h.Helper()
	pid := h.container(container).State.Pid
	ctx, cancel := context.WithTimeout(h.ctx, propagation)
	defer cancel()
	if err := lab.Poll(ctx, "a name", func() error { return h.lookup(pid, name, want) }); err != nil {
		h.Errorf("in %s of %s: %v", container, h.Name, err)
	}
}

// findsNow is finds for what must not take a moment.
func (h *host) findsNow(container, name string, want ...string) {
	h.Helper()
	if err := h.lookup(h.container(container).State.Pid, name, want); err != nil {
		h.Errorf("in %s of %s: %v", container, h.Name, err)
	}
}

// lookup looks a name up with each kind of resolver, as the container of that process.
func (h *host) lookup(pid int, name string, want []string) error {
	probe, err := h.lab.Probe(h.ctx)
	if err != nil {
		return err
	}
	musl, err := h.lab.MuslLookup(h.ctx)
	if err != nil {
		return err
	}
	out, err := h.Exec(h.ctx, "nsenter", "-t", strconv.Itoa(pid), "-n", "--", "unshare", "-m", "sh", "-c", lookupScript,
		"lookup.sh", strconv.Itoa(pid), name, probe, musl)
	if err != nil {
		return err
	}
	slices.Sort(want)
	kinds := 0
	for line := range strings.Lines(out) {
		kinds++
		kind, said, _ := strings.Cut(line, " ")
		got := addressesIn(said)
		if !slices.Equal(got, want) || len(want) == 0 && !strings.Contains(said, noSuchName[kind]) {
			return fmt.Errorf("%s finds %q for %s, want %q; it says %s", kind, got, name, want, said)
		}
	}
	if kinds != len(noSuchName) {
		return fmt.Errorf("%d resolvers were asked, want %d: %s", kinds, len(noSuchName), out)
	}
	return nil
}

// addressesIn returns the words that are addresses, sorted, each once.
func addressesIn(said string) []string {
	all := slices.DeleteFunc(strings.Fields(said), func(word string) bool {
		_, err := netip.ParseAddr(word)
		return err != nil
	})
	slices.Sort(all)
	return slices.Compact(all)
}
