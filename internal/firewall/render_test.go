package firewall

import (
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
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

// states returns states by name, in groups.
func states() map[string]map[string]State {
	out := map[string]map[string]State{"other": {
		"empty":  {},
		"engine": {EngineBridges: []string{"docker0", "br-0123456789ab", "docker0"}},
		"edge": {Networks: []Network{{
			Bridge: "on-1", Subnets: prefixes("240.0.0.0/4", "fd00::/7"),
			IPv4: Gateway{Masquerade: true}, IPv6: Gateway{Masquerade: true, Source: netip.MustParseAddr("2001:db8::1")},
		}}},
		"trusted":    {Networks: []Network{{Bridge: "on-1", Trusted: []string{"eth1", "vxlan.1"}}, {Bridge: "on-2", Trusted: []string{"eth1"}}}},
		"everything": everything(),
	}}
	for family, subnets := range map[string][]netip.Prefix{
		"ipv4": prefixes("10.1.0.0/24"), "ipv6": prefixes("fd00:1::/64"),
		"dual": prefixes("10.1.0.0/24", "10.1.1.0/24", "fd00:1::/64"),
	} {
		out[family] = networkStates(subnets)
	}
	return out
}

// networkStates is the cross product of what a network can be: masquerade, icc,
// internal, and the gateway's modes of either family.
func networkStates(subnets []netip.Prefix) map[string]State {
	out := make(map[string]State)
	for flags := range 8 {
		masquerade := flags&1 != 0
		for mode := range 9 {
			if only4 := !subnets[len(subnets)-1].Addr().Is6(); only4 && mode > 2 || subnets[0].Addr().Is6() && mode%3 != 0 {
				continue // the other family's
			}
			n := Network{Bridge: "on-1", Subnets: subnets, ICC: flags&2 != 0, Internal: flags&4 != 0}
			var name4, name6 string
			name4, n.IPv4 = testGateway(mode%3, masquerade, "192.0.2.1")
			name6, n.IPv6 = testGateway(mode/3, masquerade, "2001:db8::1")
			name := fmt.Sprintf("masquerade %t, icc %t, internal %t, IPv4 %s, IPv6 %s", masquerade, n.ICC, n.Internal, name4, name6)
			out[name] = State{Networks: []Network{n}}
		}
	}
	return out
}

// testGateway returns a mode; the one with a source takes the place of the usual one
// where there is no other use for it.
func testGateway(mode int, masquerade bool, source string) (string, Gateway) {
	switch mode {
	case 0:
		return "routed", Gateway{Routed: true}
	case 1:
		return "unprotected", Gateway{Masquerade: masquerade, Unprotected: true}
	default:
		return "nat with a source", Gateway{Masquerade: masquerade, Source: netip.MustParseAddr(source)}
	}
}

func everything() State {
	port := func(proto uint8, host string, hostPort uint16, to string, port uint16, open bool) Port {
		return Port{proto, netip.MustParseAddr(host), hostPort, netip.MustParseAddr(to), port, "on-1", open}
	}
	return State{
		Networks: []Network{
			{Bridge: "on-1", Subnets: prefixes("10.1.0.0/24"), IPv4: Gateway{Masquerade: true}, ICC: true},
			{Bridge: "on.2", Subnets: prefixes("10.1.1.0/24"), IPv4: Gateway{Masquerade: true}},
			{Bridge: "on-3", ICC: true, Internal: true, Sealed: true, Tunnel: Tunnel{4789, 0x123456}},
		},
		Underlay: Underlay{4789, []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}},
		Ports: []Port{
			port(6, "0.0.0.0", 8080, "10.1.0.2", 80, false), port(17, "0.0.0.0", 53, "10.1.0.2", 5353, true),
			port(132, "0.0.0.0", 9, "10.1.0.2", 9, false), port(17, "192.0.2.1", 54, "10.1.0.2", 5353, true),
			port(6, "192.0.2.1", 8080, "10.1.0.3", 80, false), port(6, "::", 443, "fd00:1::2", 8443, false),
			port(6, "2001:db8::1", 443, "fd00:1::3", 8443, true), port(6, "::", 0, "fd00:1::4", 8443, true),
		},
		EngineBridges: []string{"docker0"},
		Sources: []Source{
			{Device: "onv1", MAC: [6]byte{2, 0x42, 10, 1, 0, 2}, Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd00:1::2")}},
			{Device: "onv2", MAC: [6]byte{2, 0x42, 10, 1, 0, 3}, Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.3")}},
			{Device: "onv3", MAC: [6]byte{2, 0x42, 10, 1, 0, 4}},
		},
	}
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// The rules are the same for all states, so they are in one file, and in others what
// the sets hold in each state.
func TestGolden_rulesAndSets(t *testing.T) {
	t.Parallel()
	for _, l := range layers() {
		golden(t, "rules-"+l.text, renderChains(l))
	}
	for group, list := range states() {
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(list)) {
			s, err := stateFrom(list[name])
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "# %s\n%s", name, renderElementsOf(s))
		}
		golden(t, group, b.String())
	}
}

// The golden text is what nft says of the table once the kernel has it.
func TestGolden_isWhatTheKernelHas(t *testing.T) {
	t.Parallel()
	ns := netnstest.Enter(t)
	table := newTable(t)
	all := make(map[string]State)
	for _, list := range states() {
		maps.Copy(all, list)
	}
	for name, want := range all {
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
	return namedTable(t, "")
}

func namedTable(t testing.TB, name string) *Table {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	table, err := New(log, hostfs.New("/"), Options{Name: name})
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
		chainSource: "dstnat", chainForward: "filter - 5", chainInput: "filter - 5", chainPostrouting: "srcnat - 1", chainUnmark: "300",
		chainResolvers: "dstnat + 1",
	}
	hooks := map[nftables.ChainHook]string{
		*nftables.ChainHookPrerouting: "prerouting", *nftables.ChainHookOutput: "output",
		*nftables.ChainHookForward: "forward", *nftables.ChainHookInput: "input", *nftables.ChainHookPostrouting: "postrouting",
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
		nftables.TypeEtherAddr, nftables.TypeMark,
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
		if set.timeout != 0 {
			fmt.Fprintf(&b, "\t\ttimeout %s\n", set.timeout)
		}
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

// renderElementsOf lists the sets that hold something.
func renderElementsOf(s state) string {
	var b strings.Builder
	for _, l := range layers() {
		for _, set := range l.sets {
			if list := renderElements(s, set); len(list) > 0 {
				fmt.Fprintf(&b, "%s = { %s }\n", set.name, strings.Join(list, ", "))
			}
		}
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
			if set.val != nil {
				text += " : " + renderParts(e.val, set.val)
			}
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
		case nftables.TypeMark:
			out = append(out, fmt.Sprintf("0x%08x", binary.NativeEndian.Uint32([]byte(raw))))
		case nftables.TypeEtherAddr:
			out = append(out, net.HardwareAddr(raw).String())
		default:
			out = append(out, net.IP(raw).String())
		}
		b = b[min(len(b), int(p.Bytes+3)/4*4):] // alone it is not filled up
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
