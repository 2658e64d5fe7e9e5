package firewall

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/internal/netnstest"
)

func TestSet_saysWhatWasDifferentAndRepairsIt(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, harm, want string
	}{
		{"table", "delete table inet ournet", "nft table inet ournet was missing"},
		{"table of sources", "delete table bridge ournet", "nft table bridge ournet was missing"},
		{"rule for sources", "flush chain bridge ournet from-arp", "nft chain from-arp of table bridge ournet was changed"},
		{"source less", "delete element bridge ournet guarded { onv1 }", "nft set guarded of table bridge ournet: 1 elements were missing, 0 left over"},
		{"everything", "flush ruleset", "nft table inet ournet was missing;nft table bridge ournet was missing"},
		{"switched off", "add table inet ournet { flags dormant ; }", "nft table inet ournet was dormant"},
		{"sources switched off", "add table bridge ournet { flags dormant ; }", "nft table bridge ournet was dormant"},
		{"rules", "flush chain inet ournet forward", "nft chain forward of table inet ournet was changed"},
		{"one rule more", "add rule inet ournet pass counter", "nft chain pass of table inet ournet was changed"},
		{"one rule before", "insert rule inet ournet forward accept", "nft chain forward of table inet ournet was changed"},
		{"chain more", "add chain inet ournet mine", "nft chain mine of table inet ournet was left over"},
		{"set more", "add set inet ournet mine { type ifname ; }", "nft set mine of table inet ournet was left over"},
		{"policy", "add chain inet ournet forward { policy drop ; }", "nft chain forward of table inet ournet was changed"},
		{"element less", "delete element inet ournet bridges { on-1 }", "nft set bridges of table inet ournet: 1 elements were missing, 0 left over"},
		{"element more", "add element inet ournet internal { on-1 }", "nft set internal of table inet ournet: 0 elements were missing, 1 left over"},
		{"subnet less", "delete element inet ournet masq4 { 10.1.1.0/24 }", "nft set masq4 of table inet ournet: 2 elements were missing, 0 left over"},
		{"subnet more", "add element inet ournet masq4 { 10.9.0.0/16 }", "nft set masq4 of table inet ournet: 0 elements were missing, 2 left over"},
		{"port gone", "flush map inet ournet any4", "nft set any4 of table inet ournet: 3 elements were missing, 0 left over"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ns := netnstest.Enter(t)
			table := newTable(t)
			mustSet(t, table)
			before := ourTables(t, ns)
			ns.Exec(t, "nft", strings.Fields(tc.harm)...)
			if diff := cmp.Diff(strings.Split(tc.want, ";"), mustSet(t, table)); diff != "" {
				t.Error(diff)
			}
			if changed := mustSet(t, table); len(changed) > 0 {
				t.Errorf("changed again: %q", changed)
			}
			if diff := cmp.Diff(normal(before), normal(ourTables(t, ns))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// ourTables lists our tables in one order, whichever was made first.
func ourTables(t *testing.T, ns *netnstest.Namespace) string {
	t.Helper()
	return ns.Exec(t, "nft", "-s", "list", "table", "inet", "ournet") + ns.Exec(t, "nft", "-s", "list", "table", "bridge", "ournet")
}

// A program that removes our table again and again keeps no container from starting:
// what comes after it must find all of it made once.
func TestAddPorts_succeedsWhileOthersRemoveTheTableAllTheTime(t *testing.T) {
	t.Parallel()
	ns := netnstest.Enter(t)
	table := newTable(t)
	mustSet(t, table)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		err := ns.Do(func() error {
			for ctx.Err() == nil {
				if err := table.removeTables(); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	p := everything().Ports[0]
	for range 10 {
		if err := errors.Join(table.RemovePorts(t.Context(), p), table.AddPorts(t.Context(), p)); err != nil {
			t.Error(err)
			break
		}
	}
	cancel()
	wg.Wait()
	mustSet(t, table)
	if changed := mustSet(t, table); len(changed) > 0 {
		t.Errorf("in peace it changed again: %q", changed)
	}
}

// A change that comes while the table is gone must not wait for the next sweep.
func TestAddPorts_missingTableIsMadeAgainAsAWhole(t *testing.T) {
	t.Parallel()
	ns := netnstest.Enter(t)
	table := newTable(t)
	mustSet(t, table)
	want := ourTables(t, ns)
	for _, harm := range []string{"flush ruleset", "delete map inet ournet none", "flush map inet ournet any4"} {
		if _, err := ns.TryExec(t, "nft", strings.Fields(harm)...); err != nil && !strings.Contains(harm, "none") {
			t.Fatal(err)
		}
		ports := everything().Ports
		if err := table.RemovePorts(t.Context(), ports[0]); err != nil {
			t.Fatal(err)
		}
		if err := table.AddPorts(t.Context(), ports[0]); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(normal(want), normal(ourTables(t, ns))); diff != "" {
			t.Errorf("after %q: %s", harm, diff)
		}
	}
}

func TestAddPorts_hostPortGoesToTheLastAndStaysThere(t *testing.T) {
	t.Parallel()
	ns := netnstest.Enter(t)
	table := newTable(t)
	first := Port{6, netip.IPv4Unspecified(), 8080, netip.MustParseAddr("10.1.0.2"), 80, "on-1", false}
	second := first
	second.Addr = netip.MustParseAddr("10.1.0.3")
	for _, step := range []error{
		table.AddPorts(t.Context(), first), table.AddPorts(t.Context(), first),
		table.AddPorts(t.Context(), second), table.RemovePorts(t.Context(), first),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	if got := ns.Exec(t, "nft", "list", "map", "inet", "ournet", mapAny4); !strings.Contains(got, "tcp . 8080 : 10.1.0.3 . 80") {
		t.Error(got)
	}
	for range 2 {
		if err := table.RemovePorts(t.Context(), second); err != nil {
			t.Fatal(err)
		}
	}
	if got := ns.Exec(t, "nft", "list", "map", "inet", "ournet", mapAny4); strings.Contains(got, "elements") {
		t.Error(got)
	}
}

func TestAddPorts_impossibleOnesChangeNothing(t *testing.T) {
	t.Parallel()
	ns := netnstest.Enter(t)
	table := newTable(t)
	v4, v6 := netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd00::2")
	good := Port{6, netip.IPv4Unspecified(), 8080, v4, 80, "on-1", false}
	for _, bad := range []Port{
		{6, netip.IPv4Unspecified(), 8081, v6, 80, "on-1", false},
		{6, netip.IPv6Unspecified(), 8081, v4, 80, "on-1", false},
		{6, netip.Addr{}, 8081, v4, 80, "on-1", false},
		{6, netip.MustParseAddr("::ffff:192.0.2.1"), 8081, v6, 80, "on-1", false},
		{6, netip.IPv4Unspecified(), 8081, netip.Addr{}, 80, "on-1", false},
		{6, netip.IPv4Unspecified(), 0, v4, 80, "on-1", false},
		{6, netip.IPv4Unspecified(), 8081, v4, 0, "on-1", false},
	} {
		if err := table.AddPorts(t.Context(), good, bad); err == nil {
			t.Errorf("AddPorts(%+v) succeeded", bad)
		}
	}
	if err := table.AddNetwork(t.Context(), Network{Bridge: "a-name-of-16-byt"}); err == nil {
		t.Error("AddNetwork with a name that is too long succeeded")
	}
	if got := ns.Exec(t, "nft", "list", "tables"); got != "" {
		t.Errorf("tables: %s", got)
	}
}

func TestTable_waitingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	table := newTable(t)
	if err := table.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- table.AddNetwork(ctx, Network{Bridge: "on-1"}) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want %v", err, context.Canceled)
	}
	table.leave()
}

func TestAddPorts_concurrentCallersLoseNothing(t *testing.T) {
	t.Parallel()
	ns := netnstest.New(t)
	table := newTable(t)
	const callers, each = 8, 25
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			err := ns.Do(func() error {
				for i := range each {
					p := Port{6, netip.IPv4Unspecified(), uint16(1000*(c+1) + i), netip.MustParseAddr("10.1.0.2"), 80, "on-1", false}
					if err := table.AddPorts(t.Context(), p); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := strings.Count(ns.Exec(t, "nft", "list", "map", "inet", "ournet", mapAny4), " : "); got != callers*each+1 { // and the type
		t.Errorf("%d elements, want %d", got-1, callers*each)
	}
}

func BenchmarkAddPorts(b *testing.B) {
	for _, present := range []int{0, 1000, 10000} {
		b.Run(fmt.Sprintf("beside %d", present), func(b *testing.B) {
			netnstest.Enter(b)
			table := newTable(b)
			want := State{Ports: manyPorts(present)}
			if _, err := table.Set(b.Context(), want); err != nil {
				b.Fatal(err)
			}
			p := Port{6, netip.IPv4Unspecified(), 65000, netip.MustParseAddr("10.1.0.2"), 80, "on-1", false}
			for b.Loop() {
				if err := table.AddPorts(b.Context(), p); err != nil {
					b.Fatal(err)
				}
				if err := table.RemovePorts(b.Context(), p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSet(b *testing.B) {
	for _, present := range []int{0, 1000, 10000} {
		b.Run(fmt.Sprintf("of %d equal", present), func(b *testing.B) {
			netnstest.Enter(b)
			table := newTable(b)
			want := State{Ports: manyPorts(present)}
			for b.Loop() {
				if _, err := table.Set(b.Context(), want); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func manyPorts(n int) []Port {
	var out []Port
	for i := range n {
		out = append(out, Port{6, netip.IPv4Unspecified(), uint16(i + 1), netip.MustParseAddr("10.1.0.2"), 80, "on-1", false})
	}
	return out
}

func TestSet_tenThousandPortsAtOnce(t *testing.T) {
	t.Parallel()
	netnstest.Enter(t)
	table := newTable(t)
	want := State{Ports: manyPorts(10000)}
	for i := range 2 {
		changed, err := table.Set(t.Context(), want)
		if err != nil || (len(changed) > 0) != (i == 0) {
			t.Fatalf("Set %d: %q, %v", i, changed, err)
		}
	}
	if changed, err := table.Set(t.Context(), State{}); err != nil || len(changed) != 1 {
		t.Errorf("Set to none: %q, %v", changed, err)
	}
}

// Subnets that touch share the border in the kernel's sets of intervals.
func TestSet_thousandSubnetsThatTouch(t *testing.T) {
	t.Parallel()
	netnstest.Enter(t)
	table := newTable(t)
	var all, odd State
	for i := range 1000 {
		n := Network{Bridge: fmt.Sprintf("on-%d", i), IPv4: Gateway{Masquerade: true}, IPv6: Gateway{Masquerade: true}}
		n.Subnets = []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i / 256), byte(i), 0}), 24),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0, 0, 0, 0, 0, byte(i / 256), byte(i)}), 64),
		}
		all.Networks = append(all.Networks, n)
		if i%2 == 1 {
			odd.Networks = append(odd.Networks, n)
		}
	}
	for i, want := range []State{all, odd, all, {}} {
		if changed, err := table.Set(t.Context(), want); err != nil || len(changed) == 0 {
			t.Fatalf("Set %d: %q, %v", i, changed, err)
		}
		if changed, err := table.Set(t.Context(), want); err != nil || len(changed) > 0 {
			t.Fatalf("Set %d again: %q, %v", i, changed, err)
		}
	}
}

// A kernel without tables of the bridge family has everything else.
func TestTable_doesWithoutTheFamilyThatTheKernelLacks(t *testing.T) {
	t.Parallel()
	ns := netnstest.Enter(t)
	table := newTable(t)
	table.doWithout(layers()[1], errors.ErrUnsupported)
	for i := range 2 {
		if changed := mustSet(t, table); (len(changed) > 0) != (i == 0) {
			t.Errorf("Set %d: %q", i, changed)
		}
	}
	source := Source{Device: "onv9", MAC: [6]byte{2}}
	if err := errors.Join(table.AddSource(t.Context(), source), table.RemoveSource(t.Context(), "onv9")); err != nil {
		t.Error(err)
	}
	if got, want := ns.Exec(t, "nft", "list", "tables"), "table inet ournet\n"; got != want {
		t.Errorf("tables:\n%swant:\n%s", got, want)
	}
	if err := table.Remove(t.Context()); err != nil {
		t.Error(err)
	}
}
