package e2e

import (
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// What is not ours goes where it went before: to the resolver of the user's choice,
// with his search list and options, also where there is no way out.
func TestResolver_ofTheUsersChoiceIsLeftToHim(t *testing.T) {
	each(t, func(h *host) {
		const known = "corp.example" // to the server in the container ext alone
		serve := " busybox probe serve -dns :53 -name " + known + " -addr 192.0.2.7"
		h.all(`
docker network create -d ournet --subnet 10.35.0.0/24 lab
docker network create -d ournet --internal --subnet 10.36.0.0/24 closed
docker run -d --name ext --network lab --ip 10.35.0.53` + serve + `
docker run -d --name inner --network closed --ip 10.36.0.53` + serve + `
docker run -d --name web --network lab --ip 10.35.0.9 busybox sleep 1d
docker run -d --name vault --network closed --ip 10.36.0.9 busybox sleep 1d
docker run -d --name chosen --network lab --dns 10.35.0.53 --dns-search example --dns-opt ndots:1 busybox sleep 1d
docker run -d --name shut --network closed --dns 10.36.0.53 busybox sleep 1d
docker run -d --name plain --network closed busybox sleep 1d
`)
		h.answers("chosen", "web", "Success 5 10.35.0.9")
		h.answers("chosen", known, "Success 0 192.0.2.7")
		h.answers("chosen", outsideFQDN, "NameError") // which only the host's server knows
		h.resolves("chosen", "corp", "192.0.2.7")     // by the search list
		h.resolves("chosen", "web", "10.35.0.9")      // though web.example is asked for first
		getent := h.glibc("chosen")
		for name, want := range map[string]string{"corp": "192.0.2.7", "web": "10.35.0.9", "web.lab": "10.35.0.9"} {
			if out, err := h.try("docker exec chosen " + getent + " ahostsv4 " + name); err != nil || !strings.HasPrefix(out, want) {
				h.Errorf("getent finds %q (%v) for %s, want %s", out, err, name, want)
			}
		}
		// The user's server is reached without a way out, and the host's is not.
		h.answers("shut", "vault", "Success 5 10.36.0.9")
		h.answers("shut", known, "Success 0 192.0.2.7")
		h.answers("plain", "vault.closed", "Success 5 10.36.0.9")
		h.run("docker network connect lab plain")
		h.resolvesNow("plain", outsideFQDN, h.lab.Outside.Address().String())
		h.run("docker network disconnect lab plain")
		if out, err := h.try("docker exec plain probe lookup " + outsideFQDN); err == nil {
			h.Errorf("a container without a way out learned from the host's server: %s", out)
		}
	})
}

// With IPv6 alone, the resolver is asked at 127.0.0.11 all the same.
func TestResolver_inANetworkWithoutIPv4(t *testing.T) {
	eachOf(t, []lab.Engine{lab.Engine29}, func(h *host) {
		h.all(`
docker network create -d ournet --ipv4=false --ipv6 --subnet fd00:37::/64 six
docker run -d --name web --network six --ip6 fd00:37::9 busybox sleep 1d
docker run -d --name asker --network six busybox sleep 1d
`)
		h.resolves("asker", "web", "fd00:37::9")
		h.resolvesNow("asker", "web.six", "fd00:37::9")
		h.answers("asker", "web", "Success") // it has no such address, and exists
		h.resolvesNow("asker", outsideFQDN, h.lab.Outside.Address().String())
		if out := h.run("docker exec asker nslookup fd00:37::9"); !strings.Contains(out, "= web\n") {
			h.Errorf("fd00:37::9 is called\n%s\nwant web", out)
		}
	})
}
