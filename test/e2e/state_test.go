package e2e

import (
	"strings"
)

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
echo "== routes"; ip route show table all | grep -v -e fe80: -e ff00: | sort
echo "== nft"; nft --stateless list ruleset
echo "== iptables"; iptables-save | grep -v '^#' | sed 's/ \[[0-9:]*\]$//'
echo "== ip6tables"; ip6tables-save | grep -v '^#' | sed 's/ \[[0-9:]*\]$//'
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
		s[part] = append(s[part], line)
	}
	return s
}
