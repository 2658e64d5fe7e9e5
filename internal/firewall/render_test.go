package firewall

import (
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/netnstest"
)

var update = flag.Bool("update", false, "write the golden files")

// cases is the cross product of what a network can be, with and without ports.
func cases() map[string]State {
	out := map[string]State{"empty": {}, "engine": {EngineBridges: []string{"docker0", "br-0123456789ab", "docker0"}}}
	subnets := map[string][]string{
		"ipv4": {"10.1.0.0/24"}, "ipv6": {"fd00:1::/64"},
		"dual": {"10.1.0.0/24", "10.1.1.0/24", "fd00:1::/64"}, "edge": {"240.0.0.0/4"},
	}
	for family, list := range subnets {
		for flags := range 8 {
			n := Network{Bridge: "on-1", Masquerade: flags&1 != 0, ICC: flags&2 != 0, Internal: flags&4 != 0}
			for _, s := range list {
				n.Subnets = append(n.Subnets, netip.MustParsePrefix(s))
			}
			name := fmt.Sprintf("%s-masquerade-%t-icc-%t-internal-%t", family, n.Masquerade, n.ICC, n.Internal)
			out[name] = State{Networks: []Network{n}}
		}
	}
	port := func(proto uint8, host string, hostPort uint16, to string, port uint16) Port {
		return Port{proto, netip.MustParseAddr(host), hostPort, netip.MustParseAddr(to), port, "on-1"}
	}
	out["ports"] = State{
		Networks: []Network{
			{Bridge: "on-1", Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}, Masquerade: true, ICC: true},
			{Bridge: "on.2", Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24")}, Masquerade: true},
		},
		Ports: []Port{
			port(6, "0.0.0.0", 8080, "10.1.0.2", 80), port(17, "0.0.0.0", 53, "10.1.0.2", 5353), port(132, "0.0.0.0", 9, "10.1.0.2", 9),
			port(6, "192.0.2.1", 8080, "10.1.0.3", 80), port(6, "::", 443, "fd00:1::2", 8443), port(6, "2001:db8::1", 443, "fd00:1::3", 8443),
		},
		EngineBridges: []string{"docker0"},
	}
	sources := []Source{
		{Device: "onv1", MAC: [6]byte{2, 0x42, 10, 1, 0, 2}, Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd00:1::2")}},
		{Device: "onv2", MAC: [6]byte{2, 0x42, 10, 1, 0, 3}, Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.3")}},
		{Device: "onv3", MAC: [6]byte{2, 0x42, 10, 1, 0, 4}},
	}
	out["sources"] = State{Sources: sources}
	everything := out["ports"]
	everything.Sources = sources
	out["everything"] = everything
	return out
}

// The rules are the same for all states, so they are in one file and the sets of
// each state in one of their own.
func TestGolden_rulesAndSets(t *testing.T) {
	t.Parallel()
	for _, l := range layers() {
		golden(t, "rules-"+l.text, renderChains(l))
	}
	for name, want := range cases() {
		s, err := stateFrom(want)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, renderTables(s, false))
	}
}

// The golden text is what nft says of the table once the kernel has it.
func TestGolden_isWhatTheKernelHas(t *testing.T) {
	t.Parallel()
	ns := netnstest.Enter(t)
	table := newTable(t)
	for name, want := range cases() {
		if _, err := table.Set(t.Context(), want); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if changed, err := table.Set(t.Context(), want); err != nil || len(changed) > 0 {
			t.Errorf("%s: set again: %q, %v; want no change", name, changed, err)
		}
		s, err := stateFrom(want)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(normal(renderTables(s, true)), normal(ns.Exec(t, "nft", "-s", "list", "ruleset"))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func newTable(t testing.TB) *Table {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	table, err := New(log, hostfs.New("/"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".nft")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: %s", file, diff)
	}
}

// normal brings a listing to lines whose blanks and order of elements do not matter.
func normal(listing string) []string {
	// nft breaks long lists of elements into lines.
	listing = strings.ReplaceAll(listing, ",\n", ",")
	var lines []string
	for line := range strings.Lines(listing) {
		line = strings.Join(strings.Fields(line), " ")
		if rest, ok := strings.CutPrefix(line, "elements = { "); ok {
			list := strings.Split(strings.TrimSuffix(rest, " }"), ",")
			for i := range list {
				list[i] = strings.TrimSpace(list[i])
			}
			slices.Sort(list)
			line = "elements = { " + strings.Join(list, ", ") + " }"
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// renderTables writes our tables with their sets, and with their chains if asked.
func renderTables(s state, chains bool) string {
	var b strings.Builder
	for _, l := range layers() {
		fmt.Fprintf(&b, "table %s ournet {\n%s", l.text, renderSets(l, s))
		if chains {
			b.WriteString(renderChains(l))
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func renderChains(l layer) string {
	// nft has names for some priorities.
	priority := map[string]string{
		chainLoopback: "raw", chainPrerouting: "dstnat - 1", chainOutput: "-101",
		chainSource: "dstnat", chainForward: "filter - 5", chainPostrouting: "srcnat - 1", chainUnmark: "300",
	}
	hooks := map[nftables.ChainHook]string{
		*nftables.ChainHookPrerouting: "prerouting", *nftables.ChainHookOutput: "output",
		*nftables.ChainHookForward: "forward", *nftables.ChainHookPostrouting: "postrouting",
	}
	var b strings.Builder
	for _, c := range l.chains {
		fmt.Fprintf(&b, "\tchain %s {\n", c.name)
		if c.hook != nil {
			fmt.Fprintf(&b, "\t\ttype %s hook %s priority %s; policy accept;\n", c.kind, hooks[*c.hook], priority[c.name])
		}
		for _, r := range c.rules {
			comment, err := r.comment()
			if err != nil {
				comment = err.Error()
			}
			fmt.Fprintf(&b, "\t\t%s comment %q\n", r.text, comment)
		}
		b.WriteString("\t}\n")
	}
	return b.String()
}

func renderSets(l layer, s state) string {
	names := map[string]string{}
	for _, t := range []nftables.SetDatatype{
		nftables.TypeIFName, nftables.TypeIPAddr, nftables.TypeIP6Addr, nftables.TypeInetProto, nftables.TypeInetService,
		nftables.TypeEtherAddr,
	} {
		names[t.Name] = t.Name
	}
	typeName := func(parts []nftables.SetDatatype) string {
		var out []string
		for _, p := range parts {
			out = append(out, names[p.Name])
		}
		return strings.Join(out, " . ")
	}
	var b strings.Builder
	for _, set := range l.sets {
		kind, types := "set", typeName(set.key)
		if set.val != nil {
			kind, types = "map", types+" : "+typeName(set.val)
		}
		fmt.Fprintf(&b, "\t%s %s {\n\t\ttype %s\n", kind, set.name, types)
		if set.interval {
			b.WriteString("\t\tflags interval\n")
		}
		if list := renderElements(s, set); len(list) > 0 {
			fmt.Fprintf(&b, "\t\telements = { %s }\n", strings.Join(list, ", "))
		}
		b.WriteString("\t}\n")
	}
	return b.String()
}

// renderElements reads elements back from the kernel's form.
func renderElements(s state, set set) []string {
	var out []string
	elements := s.elements()
	for i, e := range elements {
		if e.set != set.name || e.end {
			continue
		}
		text := renderParts(e.key, set.key)
		if set.val != nil {
			text += " : " + renderParts(e.val, set.val)
		}
		if set.interval {
			next := ""
			if i+1 < len(elements) && elements[i+1].end {
				next = elements[i+1].key
			}
			text = renderPrefix(e.key, next)
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

func renderParts(b string, parts []nftables.SetDatatype) string {
	var out []string
	for _, p := range parts {
		switch raw := b[:p.Bytes]; p {
		case nftables.TypeIFName:
			out = append(out, fmt.Sprintf("%q", strings.TrimRight(raw, "\x00")))
		case nftables.TypeInetProto:
			out = append(out, map[byte]string{6: "tcp", 17: "udp", 132: "sctp"}[raw[0]])
		case nftables.TypeInetService:
			out = append(out, strconv.Itoa(int(raw[0])<<8|int(raw[1])))
		case nftables.TypeEtherAddr:
			out = append(out, net.HardwareAddr(raw).String())
		default:
			out = append(out, net.IP(raw).String())
		}
		b = b[(p.Bytes+3)/4*4:]
	}
	return strings.Join(out, " . ")
}

func renderPrefix(first, next string) string {
	from, _ := netip.AddrFromSlice([]byte(first))
	for bits := 0; bits <= from.BitLen(); bits++ {
		p := netip.PrefixFrom(from, bits)
		if p.Masked() == p && string(lastAddr(p).Next().AsSlice()) == next {
			return p.String()
		}
	}
	return "no prefix"
}
