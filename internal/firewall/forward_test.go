package firewall

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/internal/netnstest"
)

func TestJumpPlan_standsBehindTheAdministratorsRules(t *testing.T) {
	t.Parallel()
	const ours, user, other = "-j OURNET-FORWARD", "-j DOCKER-USER", "-i eth0 -j DROP"
	for _, tc := range []struct {
		name   string
		rules  []string
		at     int
		remove []int
	}{
		{"empty", nil, 1, nil},
		{"alone", []string{ours}, 0, nil},
		{"before others", []string{ours, other}, 0, nil},
		{"missing", []string{other}, 1, nil},
		{"missing behind DOCKER-USER", []string{user, other}, 2, nil},
		{"behind DOCKER-USER", []string{user, ours, other}, 0, nil},
		{"before DOCKER-USER", []string{ours, user, other}, 3, []int{1}},
		{"behind another's drop", []string{other, ours}, 1, []int{2}},
		{"behind another's drop and DOCKER-USER", []string{user, other, ours}, 2, []int{3}},
		{"behind the engine's jumps", []string{user, "-j DOCKER-ISOLATION-STAGE-1", ours}, 0, nil},
		{"behind the engine's jumps without DOCKER-USER", []string{"-j DOCKER-FORWARD", ours}, 0, nil},
		{"behind the engine's accept", []string{user, "-o docker0 -j DOCKER", ours}, 2, []int{3}},
		{"DOCKER-USER not first", []string{other, user, ours}, 0, nil},
		{"twice", []string{user, ours, ours, other, ours}, 0, []int{3, 5}},
		{"twice, none well", []string{ours, user, other, ours}, 3, []int{1, 4}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var rules []string
			for _, r := range tc.rules {
				rules = append(rules, "-A FORWARD "+r)
			}
			at, remove := jumpPlan(rules, "OURNET-FORWARD")
			if at != tc.at || !slices.Equal(remove, tc.remove) {
				t.Errorf("jumpPlan = %d, %v; want %d, %v", at, remove, tc.at, tc.remove)
			}
		})
	}
}

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
				rules := slices.DeleteFunc(strings.Split(after, "\n"), func(r string) bool { return !strings.HasPrefix(r, "-A FORWARD") })
				if at, remove := jumpPlan(rules, "OURNET-FORWARD"); at != 0 || len(remove) > 0 {
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
