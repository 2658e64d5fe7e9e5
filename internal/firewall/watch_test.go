package firewall

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/netnstest"
)

// watched is a table that somebody else's changes are heard of.
type watched struct {
	ns    *netnstest.Namespace
	table *Table
	heard chan string
	// tools has nft under other names.
	tools string
}

// Names of nft by which the kernel says who changed our table: to see whether it is
// watched yet, and then to mark a place among the changes.
const (
	readyName  = "ready"
	markerName = "marker"
)

func watch(t *testing.T, program string) *watched {
	t.Helper()
	w := &watched{ns: netnstest.Enter(t), table: newTable(t), heard: make(chan string, 100), tools: t.TempDir()}
	w.table.forward.legacy.every = 20 * time.Millisecond
	for _, name := range []string{readyName, markerName} {
		if err := os.Symlink("/usr/sbin/nft", filepath.Join(w.tools, name)); err != nil {
			t.Fatal(err)
		}
	}
	w.ns.Exec(t, "/usr/sbin/"+program, "-P", "FORWARD", "DROP")
	mustSet(t, w.table)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- w.ns.Do(func() error { return w.table.Watch(ctx, func(by string) { w.heard <- by }) })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	// It watches when it tells of a change. Some of these changes may be told of later.
	for {
		w.mark(t, readyName)
		select {
		case <-w.heard:
			w.rest(t)
			return w
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// mark makes a change that is heard of under a name.
func (w *watched) mark(t *testing.T, name string) {
	t.Helper()
	w.ns.Exec(t, filepath.Join(w.tools, name), "add chain inet ournet mine; delete chain inet ournet mine")
}

// rest returns what is heard of changes that were made before. The watch hears of one
// change after the other, so that a marker is behind them all.
func (w *watched) rest(t *testing.T) (all []string) {
	t.Helper()
	until := func() {
		w.mark(t, markerName)
		for by := range w.heard {
			if by == markerName {
				return
			}
			all = append(all, by)
		}
	}
	// A look at iptables-legacy's tables is due some time after the first marker, and
	// done after the second: the third is behind it.
	until()
	<-time.After(w.table.forward.legacy.every)
	until()
	until()
	return all
}

func TestWatch_tellsWhoChangedWhatWeKeep(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			w := watch(t, program)
			ours := map[string]string{
				"nft flush ruleset": "nft", "nft delete table inet ournet": "nft", "nft delete table bridge ournet": "nft",
				"nft flush chain inet ournet pass": "nft", "nft flush set bridge ournet guarded": "nft",
			}
			by := program
			if strings.HasSuffix(program, "-nft") {
				by = program[:min(len(program), 15)] // the kernel's limit for names
			}
			for _, args := range []string{" -F FORWARD", " -F OURNET-FORWARD", " -I FORWARD -i eth9 -j DROP", " -F"} {
				ours[program+args] = by
			}
			for command, want := range ours {
				argv := strings.Fields(command)
				w.ns.Exec(t, "/usr/sbin/"+argv[0], argv[1:]...)
				select {
				case got := <-w.heard:
					if got != want {
						t.Errorf("%s: %q was heard, want %q", command, got, want)
					}
				case <-time.After(10 * time.Second):
					t.Errorf("%s: nothing was heard", command)
				}
				if strings.Contains(command, "flush ruleset") {
					w.ns.Exec(t, "/usr/sbin/"+program, "-P", "FORWARD", "DROP")
				}
				mustSet(t, w.table)
				w.rest(t)
			}
		})
	}
}

// What is broken again before the watch has looked at the repair is heard as well.
func TestWatch_hearsOfTheSameHarmTwice(t *testing.T) {
	t.Parallel()
	w := watch(t, "iptables-legacy")
	for i := range 5 {
		w.ns.Exec(t, "/usr/sbin/iptables-legacy", "-F")
		select {
		case <-w.heard:
		case <-time.After(10 * time.Second):
			t.Fatalf("flush %d was not heard", i)
		}
		mustSet(t, w.table)
	}
}

// Neither what we do ourselves nor what the engine does with each container is a
// reason to compare everything.
func TestWatch_isSilentAboutTheRest(t *testing.T) {
	t.Parallel()
	w := watch(t, "iptables-nft")
	p := everything().Ports[0]
	for _, err := range []error{
		w.table.RemovePorts(t.Context(), p), w.table.AddPorts(t.Context(), p),
		w.table.AddSource(t.Context(), Source{Device: "onv9"}), w.table.RemoveSource(t.Context(), "onv9"),
		w.table.AddNetwork(t.Context(), Network{Bridge: "on-9"}), w.table.RemoveNetwork(t.Context(), "on-9"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	for command := range strings.SplitSeq(`iptables-nft -N DOCKER
iptables-nft -A DOCKER -d 172.17.0.2 -j ACCEPT
iptables-nft -t nat -A PREROUTING -j RETURN
iptables-nft -t raw -A PREROUTING -j RETURN
nft add table ip docker-bridges
nft add chain ip docker-bridges x
nft delete table ip docker-bridges`, "\n") {
		argv := strings.Fields(command)
		w.ns.Exec(t, "/usr/sbin/"+argv[0], argv[1:]...)
	}
	if heard := w.rest(t); len(heard) > 0 {
		t.Errorf("heard %q", heard)
	}
}
