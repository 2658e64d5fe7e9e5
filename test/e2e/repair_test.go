package e2e

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ournet/ournet/test/lab"
)

// repairPatience is how long a repair may take before the test fails. It takes 2 s at
// most on a machine that has nothing else to do; the test prints how long it took.
const repairPatience = 25 * time.Second

// harm is something that somebody does to a host, and a word of the repair's line.
type harm struct{ name, command, repair string }

func harms(bridge, port string) []harm {
	return []harm{
		{"our table deleted", "nft delete table inet ournet", "nft table inet ournet was missing"},
		{"our table of sources deleted", "nft delete table bridge ournet", "nft table bridge ournet was missing"},
		{"our rules flushed", "nft flush chain inet ournet prerouting", "nft chain prerouting"},
		{"a published port removed", "nft flush map inet ournet any4", "nft set any4"},
		{"an address removed", "ip address flush dev " + bridge, "bridge " + bridge},
		{"the bridge set down", "ip link set " + bridge + " down", "bridge " + bridge},
		{"the bridge deleted", "ip link delete " + bridge, "bridge " + bridge},
		{"an interface off its bridge", "ip link set " + port + " nomaster", "interface " + port},
		{"an interface set down", "ip link set " + port + " down", "interface " + port},
		{"an interface deleted", "ip link delete " + port, "interface " + port},
	}
}

// iptablesHarms are those to the rules of an engine that drops what nobody accepts.
func iptablesHarms(program string) []harm {
	return []harm{
		{program + " -F", program + " -F", "OURNET-FORWARD"},
		{program + " -F and -X", program + " -F; " + program + " -X", "OURNET-FORWARD"},
		// What firewalld does when it is reloaded, and the engine after it.
		{program + " reloaded", program + "-save -t filter | grep -v OURNET | " + program + "-restore", "OURNET-FORWARD"},
	}
}

func TestRepair_whatOthersBreakIsBackAtOnceAndLoggedOnce(t *testing.T) {
	t.Parallel()
	eachFreshOf(t, lab.Backends(), func(h *host) {
		h.run("docker network create -d ournet --ipam-driver ournet --subnet 10.223.0.0/24 n")
		h.run("docker run -d --name web --network n -p 8085:80 busybox probe serve -tcp :80")
		h.run("docker run -d --name client --network n busybox sleep 1d")
		port := "onv" + asked[inhabitant](h, "/containers/web/json").NetworkSettings.Networks["n"].EndpointID[:11]
		all := harms("on-"+h.network("n").ID[:12], port)
		// Also where the engine has its rules in nftables a host may have some here.
		for _, program := range []string{"iptables", "iptables-legacy"} {
			h.run(program + " -P FORWARD DROP")
			all = append(all, iptablesHarms(program)...)
		}
		// Last, for the engine's own rules do not come back.
		all = append(all, harm{"nft flush ruleset", "nft flush ruleset", "nft table inet ournet was missing"})
		h.works(time.Now(), "the start of the containers")
		for _, c := range all {
			h.part(c.name, func(h *host) { h.suffers(c) })
		}
		h.repairsAreCounted()
	})
}

// suffers does one harm and asserts that it is undone and said once.
func (h *host) suffers(c harm) {
	h.Helper()
	before, err := h.Logs()
	if err != nil {
		h.Fatal(err)
	}
	if _, err := h.Exec(h.ctx, "sh", "-c", c.command); err != nil {
		h.Fatal(err)
	}
	begin := time.Now()
	h.says(before, "repaired: ", c.repair)
	h.works(begin, "the harm")
	after, err := h.Logs()
	if err != nil {
		h.Fatal(err)
	}
	said := repairLines(strings.TrimPrefix(after, before))
	slices.Sort(said)
	if once := slices.Compact(slices.Clone(said)); len(once) != len(said) {
		h.Errorf("repairs were logged more than once: %q", said)
	}
}

// works waits until containers reach each other and the outside, and the outside
// their published port.
func (h *host) works(begin time.Time, after string) {
	h.Helper()
	probe, err := h.lab.Probe(h.ctx)
	if err != nil {
		h.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(h.ctx, repairPatience)
	defer cancel()
	err = lab.Poll(ctx, "traffic", func() error {
		_, in := h.lab.Outside.Exec(ctx, probe, "who", "-timeout", "300ms", "tcp", h.Address().String()+":8085")
		_, out := h.try("docker exec client ping -c 1 -W 1 " + h.lab.Outside.Address().String())
		_, beside := h.try("docker exec client ping -c 1 -W 1 web")
		return errors.Join(in, out, beside)
	})
	if err != nil {
		h.Errorf("%.1f s after %s: %v", time.Since(begin).Seconds(), after, err)
		return
	}
	h.Logf("traffic passes %.2f s after %s", time.Since(begin).Seconds(), after)
}

// repairsAreCounted asserts that the plugin has counted each repair that it logged, once
// the engine has written down what the plugin said last.
func (h *host) repairsAreCounted() {
	h.Helper()
	var counted map[string]int
	h.eventually("the counted repairs to be the logged ones", func() (err error) {
		if counted, err = h.repairs(); err != nil {
			return err
		}
		text, err := h.Logs()
		if err != nil {
			return err
		}
		logged := map[string]int{}
		for _, line := range repairLines(text) {
			kind, _, _ := strings.Cut(line, " ")
			logged[kind]++
		}
		if fmt.Sprint(counted) != fmt.Sprint(logged) {
			return fmt.Errorf("counted %v, logged %v", counted, logged)
		}
		return nil
	})
	if counted["nft"] == 0 || counted["bridge"] == 0 || counted["interface"] == 0 {
		h.Errorf("counted %v, want some of each kind", counted)
	}
}

// repairLines returns what the plugin says in a log that it repaired. Each says why
// it looked.
func repairLines(log string) []string {
	var lines []string
	for _, m := range regexp.MustCompile(`repaired: ([^"\\]+)\\*" cause=`).FindAllStringSubmatch(log, -1) {
		lines = append(lines, m[1])
	}
	return lines
}
