package firewall

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/internal/netnstest"
)

// Whatever was done to iptables, one Set brings our rule back and leaves the rest.
func TestForward_isRepairedAndOthersRulesAreKept(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"} {
		for _, tc := range []struct {
			name string
			harm string // commands, apart by ;
		}{
			{"nothing", ""},
			{"flushed", "-F"},
			{"flushed and chains removed", "-F;-X"},
			{"our chain emptied", "-F OURNET-FORWARD"},
			{"our chain widened", "-A OURNET-FORWARD -j ACCEPT"},
			{"jump removed", "-D FORWARD -j OURNET-FORWARD"},
			{"jump doubled", "-A FORWARD -j OURNET-FORWARD"},
			{"drop put first", "-I FORWARD -i eth9 -j DROP"},
			{"engine started", "-N DOCKER-USER;-A DOCKER-USER -j RETURN;-I FORWARD -j DOCKER-USER"},
			{"engine started last", "-N DOCKER-USER;-A FORWARD -j DOCKER-USER"},
			{"policy", "-P FORWARD ACCEPT"},
		} {
			t.Run(program+" "+tc.name, func(t *testing.T) {
				t.Parallel()
				ns := netnstest.Enter(t)
				ipt := func(args string) string { return ns.Exec(t, "/usr/sbin/"+program, strings.Fields(args)...) }
				ipt("-P FORWARD DROP")
				ipt("-N USERS")
				ipt("-A FORWARD -i eth8 -j USERS")
				table := newTable(t)
				mustSet(t, table)
				if tc.harm != "" {
					for harm := range strings.SplitSeq(tc.harm, ";") {
						ipt(harm)
					}
				}
				others := notOurs(ipt("-S"))
				mustSet(t, table)
				if again := mustSet(t, table); len(again) > 0 {
					t.Errorf("changed again: %q", again)
				}
				after := ipt("-S")
				if diff := cmp.Diff(others, notOurs(after)); diff != "" {
					t.Errorf("rules of others: %s", diff)
				}
				if !standsWell(after) {
					t.Errorf("the jump is not in its place:\n%s", after)
				}
				const rule = "-A OURNET-FORWARD -m mark --mark 0x8000000/0x8000000 -j ACCEPT\n"
				if strings.Count(after, "-A OURNET-FORWARD") != 1 || !strings.Contains(after, rule) {
					t.Errorf("our chain is not right:\n%s", after)
				}
				if err := table.Remove(t.Context()); err != nil {
					t.Fatal(err)
				}
				if left := ipt("-S"); strings.Contains(left, "OURNET") || !cmp.Equal(others, notOurs(left)) {
					t.Errorf("after Remove:\n%s", left)
				}
				if err := table.Remove(t.Context()); err != nil {
					t.Errorf("second Remove: %v", err)
				}
			})
		}
	}
}

// A host on which nobody uses iptables gets no iptables chains from us.
func TestForward_noForwardChainIsLeftSo(t *testing.T) {
	t.Parallel()
	ns := netnstest.Enter(t)
	mustSet(t, newTable(t))
	if got, want := ns.Exec(t, "nft", "list", "tables"), "table inet ournet\ntable bridge ournet\n"; got != want {
		t.Errorf("tables:\n%swant:\n%s", got, want)
	}
}

func mustSet(t *testing.T, table *Table) []string {
	t.Helper()
	changed, err := table.Set(t.Context(), everything())
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func notOurs(listing string) []string {
	return slices.DeleteFunc(strings.Split(listing, "\n"), func(r string) bool {
		return strings.Contains(r, "OURNET-FORWARD") || strings.HasPrefix(r, "#")
	})
}
