package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/ournet/ournet/test/lab"
)

// engineBridge matches a bridge of the engine's own driver.
var engineBridge = regexp.MustCompile(`\b(docker0|docker_gwbridge|br-[0-9a-f]{12})\b`)

// jumpMark is what one of the two forms of the jump from FORWARD has and the other has
// not, in nft's words and in iptables'. Each time the jump is moved it has the other.
var jumpMark = regexp.MustCompile(`(?:meta mark & 0x08000000 == 0x08000000 |-m mark --mark 0x8000000/0x8000000 )((?:counter jump|-j) [A-Z0-9-]+-FORWARD)$`)

// state is what a network leaves on a host when it is not removed properly:
// lines by what they are about.
type state map[string][]string

// stateScript prints the state, with a line "== NAME" before each part. Counters,
// indexes, and what changes by itself are left out. Engine 20.10 removes the files of old sandboxes
// once a minute, so their mounts are looked at; link-local addresses come a second
// after their link.
const stateScript = `
echo "== links"; ip -d -o link | sed -E 's/^[0-9]+: //; s/@if[0-9]+//' | awk '{print $1}' | sort
echo "== addresses"; ip -o address | awk '{print $2, $3, $4}' | grep -v fe80: | sort
echo "== routes"; ip route show table all | grep -v -e fe80: -e ff00: | sed 's/ linkdown//' | sort
echo "== nft"; nft --stateless list ruleset
for v in iptables ip6tables; do
	echo "== $v (legacy)"; $v-legacy-save 2>/dev/null | grep -v '^#' | sed 's/ \[[0-9:]*\]$//'
done
echo "== sandboxes"; awk '$2 ~ "^/run/docker/netns/" {print $2}' /proc/self/mounts | sort
echo "== plugin sockets"; find /run/docker/plugins | sort
echo "== listening"; ss -Hlntu | awk '{print $1, $5}' | sort
`

// state returns the host's state now.
func (h *host) state() state {
	h.Helper()
	out, err := h.Exec(h.ctx, "sh", "-c", stateScript)
	if err != nil {
		h.Fatal(err)
	}
	s := state{}
	part := ""
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "== "); ok {
			part = name
			continue
		}
		s[part] = append(s[part], jumpMark.ReplaceAllString(line, "$1"))
	}
	s["nft"] = nftRules(s["nft"])
	return s
}

// settledState returns the state once the plugin has seen which bridges the engine
// has: it takes up to a second to follow one that has just come or gone.
func (h *host) settledState() state {
	h.Helper()
	var s state
	err := lab.Poll(h.ctx, "the plugin to see the engine's bridges", func() error {
		s = h.state()
		return s.unseenBridges()
	})
	if err != nil {
		h.Fatal(err)
	}
	return s
}

// unseenBridges is an error if the plugin's set of the engine's bridges has others
// than there are.
func (s state) unseenBridges() error {
	const head = "table inet ournet set engine"
	if !slices.Contains(s["nft"], head) {
		return nil
	}
	var known, there []string
	for _, line := range s["nft"] {
		if list, ok := strings.CutPrefix(line, head+": elements = "); ok {
			known = engineBridge.FindAllString(list, -1)
		}
	}
	for _, line := range s["links"] {
		there = append(there, engineBridge.FindAllString(line, 1)...)
	}
	slices.Sort(known)
	slices.Sort(there)
	if !slices.Equal(known, there) {
		return fmt.Errorf("it knows %v, there are %v", known, there)
	}
	return nil
}

// nftRules turns nft's listing, which is also that of iptables-nft, into a line per
// rule with its table and chain before it. They are sorted: which table was made
// first is as little a trace of a network as is whose jump stands first after the
// engine has started anew.
func nftRules(listing []string) []string {
	var rules, path []string
	for _, line := range joinElements(listing) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case strings.HasPrefix(line, "elements") && strings.HasPrefix(path[len(path)-1], "set vteps"):
			// The hosts of the cluster are no trace of a network.
		case line == "}":
			path = path[:len(path)-1]
		case strings.HasSuffix(line, "{"):
			path = append(path, strings.TrimSuffix(line, " {"))
			rules = append(rules, strings.Join(path, " "))
		default:
			rules = append(rules, strings.Join(path, " ")+": "+sortElements(line))
		}
	}
	slices.Sort(rules)
	return rules
}

// joinElements puts the elements of a set, which nft spreads over lines, on one.
func joinElements(listing []string) []string {
	var lines []string
	open := false
	for _, line := range listing {
		if open {
			lines[len(lines)-1] += " " + strings.TrimSpace(line)
		} else {
			lines = append(lines, line)
		}
		last := lines[len(lines)-1]
		open = strings.Contains(last, "elements = {") && !strings.HasSuffix(last, "}")
	}
	return lines
}

// sortElements puts the elements of a set in order, if the line has some: nft lists
// them by where the kernel's hash has put them.
func sortElements(line string) string {
	head, list, ok := strings.Cut(line, "elements = { ")
	if !ok {
		return line
	}
	elements := strings.Split(strings.TrimSuffix(list, " }"), ",")
	for i := range elements {
		elements[i] = strings.TrimSpace(elements[i])
	}
	slices.Sort(elements)
	return head + "elements = { " + strings.Join(elements, ", ") + " }"
}
