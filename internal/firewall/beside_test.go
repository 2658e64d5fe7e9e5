package firewall

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ournet/ournet/internal/netnstest"
)

// Two plugins on a host leave each other's rule in front where it is: to move theirs
// about would have no end.
func TestForward_twoPluginsStandBesideEachOther(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			ns := netnstest.Enter(t)
			ns.Exec(t, "/usr/sbin/"+program, "-P", "FORWARD", "DROP")
			one, other := newTable(t), namedTable(t, "second")
			mustSet(t, one)
			mustSet(t, other)
			for _, table := range []*Table{one, other} {
				if changed := mustSet(t, table); len(changed) > 0 {
					t.Errorf("with the other there: changed %q", changed)
				}
			}
			if err := other.Remove(t.Context()); err != nil {
				t.Fatal(err)
			}
			if changed := mustSet(t, one); len(changed) > 0 {
				t.Errorf("with the other gone: changed %q", changed)
			}
		})
	}
}

// A chain of somebody else with a name like ours may do anything; it is no reason to
// stand behind it.
func TestForward_standsBeforeAStrangersChain(t *testing.T) {
	t.Parallel()
	ns := netnstest.Enter(t)
	ipt := func(args string) string { return ns.Exec(t, "/usr/sbin/iptables-nft", strings.Fields(args)...) }
	ipt("-P FORWARD DROP")
	table := newTable(t)
	mustSet(t, table)
	ipt("-N KUBE-FORWARD")
	ipt("-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP")
	ipt("-I FORWARD -j KUBE-FORWARD")
	mustSet(t, table)
	rules := ipt("-S FORWARD")
	if strings.Index(rules, "OURNET-FORWARD") > strings.Index(rules, "KUBE-FORWARD") {
		t.Errorf("the jump is behind the stranger's:\n%s", rules)
	}
}

// The engine, an administrator or another plugin may put rules in front of what we
// are about to delete, so that its number is another rule's by then.
func TestForward_deletesNothingOfOthersThatMoveMeanwhile(t *testing.T) {
	t.Parallel()
	const theirs, rounds = 12, 10
	for _, program := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			ns := netnstest.Enter(t)
			ipt := func(args string) string {
				return ns.Exec(t, "/usr/sbin/"+program, append([]string{"-w", "5"}, strings.Fields(args)...)...)
			}
			ipt("-P FORWARD DROP")
			for i := range theirs {
				ipt(fmt.Sprintf("-A FORWARD -s 192.0.2.%d -j ACCEPT", i))
			}
			table := newTable(t)
			mustSet(t, table)
			before := notOurs(ipt("-S FORWARD"))

			stop := moveRules(t, ns, program)
			for range rounds {
				ipt("-A FORWARD -j OURNET-FORWARD")
				mustSet(t, table)
			}
			if out := stop(); out != "" {
				t.Errorf("rules that came and should go: %s", out)
			}

			if after := notOurs(ipt("-S FORWARD")); strings.Join(after, "\n") != strings.Join(before, "\n") {
				t.Errorf("rules of others before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
			mustSet(t, table)
			if changed := mustSet(t, table); len(changed) > 0 {
				t.Errorf("in the quiet: changed %q", changed)
			}
		})
	}
}

// moveRules puts a rule first and deletes it, again and again, until stop, which
// returns what went wrong with it.
func moveRules(t *testing.T, ns *netnstest.Namespace, program string) (stop func() string) {
	t.Helper()
	const moving = `
while [ ! -e "$1" ]; do
	"/usr/sbin/$0" -w 5 -I FORWARD -i eth9 -j DROP
	"/usr/sbin/$0" -w 5 -D FORWARD -i eth9 -j DROP
done 2>&1
true
`
	over, said := filepath.Join(t.TempDir(), "over"), make(chan string, 1)
	go func() {
		defer close(said)
		said <- ns.Exec(t, "sh", "-c", moving, program, over)
	}()
	stop = sync.OnceValue(func() string {
		if err := os.WriteFile(over, nil, 0o600); err != nil {
			t.Error(err)
		}
		return <-said
	})
	t.Cleanup(func() { stop() })
	return stop
}
