package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// asks asks a server from the container's namespace, and returns the code and the
// records of the answer, each in its own line.
func (h *host) asks(container, server, args string) string {
	h.Helper()
	line := h.inside(container, "dig @"+server+" +time=5 +tries=1 +noall +answer +comments "+args)
	out, err := h.try(line)
	if err != nil {
		return "no answer"
	}
	var words []string
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if _, status, ok := strings.Cut(line, "status: "); ok {
			code, _, _ := strings.Cut(status, ",")
			words = append(words, code)
		} else if line != "" && !strings.HasPrefix(line, ";") {
			words = append(words, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(words, "\n")
}

// soonAnswered waits until a question about a container is answered by a server with want.
func (h *host) soonAnswered(container, server, question, want string) {
	h.Helper()
	err := lab.Poll(h.ctx, question+" at "+server, func() error {
		if got := h.asks(container, server, question); !strings.Contains(got, want) {
			return fmt.Errorf("it is answered by %q, want %q", got, want)
		}
		return nil
	})
	if err != nil {
		h.Error(err)
	}
}

// sameAnswers asserts that a question about a container is answered by each of the
// servers as it is at 127.0.0.11, over UDP and TCP, and returns the answer.
func (h *host) sameAnswers(container, question string, servers ...string) string {
	h.Helper()
	h.sameForeign(container, "+tcp "+question, servers...)
	return h.sameForeign(container, question, servers...)
}

// sameForeign is sameAnswers for a question about something else. The server outside
// has no TCP.
func (h *host) sameForeign(container, question string, servers ...string) string {
	h.Helper()
	want := h.asks(container, "127.0.0.11", question)
	for _, server := range servers {
		if got := h.asks(container, server, question); got != want {
			h.Errorf("in %s, %s is answered at %s by %q, and at 127.0.0.11 by %q", container, question, server, got, want)
		}
	}
	return want
}

// writes puts a file on the host, and takes it away after the test.
func (h *host) writes(name, text string) {
	h.Helper()
	if _, err := h.Exec(h.ctx, "sh", "-c", "printf '"+text+"' > "+name); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		if _, err := h.Exec(context.WithoutCancel(h.ctx), "rm", "-f", name); err != nil {
			h.Error(err)
		}
	})
}

func TestGatewayNames_areThoseOfTheContainersResolver(t *testing.T) {
	each(t, func(h *host) {
		h.all(`
docker network create -d ournet --ipam-driver ournet --ipv6 --subnet 10.38.0.0/24 --gateway 10.38.0.1 --subnet fd00:38::/64 --gateway fd00:38::1 lab
docker network create -d ournet --ipam-driver ournet --subnet 10.39.0.0/24 --gateway 10.39.0.1 four
docker run -d --name web --hostname Web-1 --network lab --ip 10.38.0.9 --ip6 fd00:38::9 --network-alias www busybox sleep 1d
docker run -d --name old --network four --ip 10.39.0.9 busybox sleep 1d
docker run -d --name asker --network lab --link web:store busybox sleep 1d
docker network connect four asker
`)
		h.resolves("asker", "store", "10.38.0.9", "fd00:38::9")
		h.resolves("asker", "old", "10.39.0.9")
		for question, want := range map[string]string{
			"web": "10.38.0.9", "WEB.lab": "10.38.0.9", "www": "10.38.0.9", "web-1.lab": "10.38.0.9", "asker.lab": "A 10.38.0.",
			h.container("web").ID[:12]: "10.38.0.9", "store": "10.38.0.9", "store.lab": "10.38.0.9", "old": "10.39.0.9",
			"aaaa web": "fd00:38::9", "aaaa old": "NOERROR", "srv web": "NOERROR", "-x 10.38.0.9": "web.lab.", "-x fd00:38::9": "PTR web.",
		} {
			if got := h.sameAnswers("asker", question, "10.38.0.1", "fd00:38::1", "10.39.0.1"); !strings.Contains(got, want) {
				h.Errorf("%s is answered by %q, want %s", question, got, want)
			}
		}
		for question, want := range map[string]string{
			outsideFQDN: h.lab.Outside.Address().String(), "no.such.name": "NXDOMAIN", "web.four": "NXDOMAIN",
		} {
			if got := h.sameForeign("asker", question, "10.38.0.1", "fd00:38::1", "10.39.0.1"); !strings.Contains(got, want) {
				h.Errorf("%s is answered by %q, want %s", question, got, want)
			}
		}
		// One that is on one network alone, and has no link.
		h.sameAnswers("old", "old.four", "10.39.0.1")
		for _, question := range []string{"web", "store"} {
			if got := h.sameForeign("old", question, "10.39.0.1"); got != "NXDOMAIN" {
				h.Errorf("old, of another network, learns of %s: %q", question, got)
			}
		}
		// At the gateway of another network, and for the host, nothing has changed.
		for _, line := range []string{h.inside("old", "dig @10.38.0.1 +time=1 +tries=1 web"), "dig @10.38.0.1 +time=1 +tries=1 web"} {
			if out, err := h.try(line); err == nil {
				h.Errorf("%s: %s, want that nobody is there", line, out)
			}
		}
		h.run("docker rename web neu")
		h.answers("asker", "neu", "Success 5 10.38.0.9")
		h.sameAnswers("asker", "neu", "10.38.0.1")
		h.run("docker stop -t 0 neu")
		if got := h.asks("asker", "10.38.0.1", "neu"); got != "NXDOMAIN" {
			h.Errorf("the name of a container that is stopped is answered by %q", got)
		}
	})
}

// What people have who mount a resolv.conf: the first instruction asks, for another
// container's name and for its own, and for what is outside.
func TestGatewayNames_containerWithItsOwnResolvConf(t *testing.T) {
	each(t, func(h *host) {
		h.writes("/run/gateway.conf", "nameserver 10.40.0.1\\n")
		h.all(`
docker network create -d ournet --subnet 10.40.0.0/24 --gateway 10.40.0.1 lab
docker run -d --name web --network lab --ip 10.40.0.9 busybox sleep 1d
docker run -d --name own -v /run/gateway.conf:/etc/resolv.conf:ro --network lab --ip 10.40.0.8 busybox sleep 1d
`)
		outside := h.lab.Outside.Address().String()
		h.resolves("own", "web", "10.40.0.9")
		h.resolvesNow("own", "own.lab", "10.40.0.8")
		h.resolvesNow("own", outsideFQDN, outside)
		getent := "docker exec own " + h.glibc("own") + " "
		for line, want := range map[string]string{
			"docker exec own nslookup web":            "10.40.0.9",
			"docker exec own nslookup 10.40.0.9":      "web",
			"docker exec own nslookup " + outsideFQDN: outside,
			"docker exec own ping -c 1 web":           "10.40.0.9",
			getent + "ahostsv4 web.lab":               "10.40.0.9",
			getent + "hosts 10.40.0.9":                "web",
			getent + "ahostsv4 " + outsideFQDN:        outside,
		} {
			if out, err := h.try(line); err != nil || !strings.Contains(out, want) {
				h.Errorf("%s: %s (%v), want %s", line, out, err, want)
			}
		}
		for i := range 8 {
			name := fmt.Sprintf("first%d", i)
			run := "docker run --rm --init=false -v /run/gateway.conf:/etc/resolv.conf:ro --network lab --name " + name + " busybox probe lookup "
			for _, asked := range []string{"web", name} {
				if out, err := h.try(run + asked); err != nil || !strings.HasPrefix(out, "10.40.0.") {
					h.Errorf("the first instruction of %s finds %q for %s (%v)", name, out, asked, err)
				}
			}
		}
	})
}

func TestGatewayNames_strangersAreRefusedAndInternalNetworksAskNobody(t *testing.T) {
	each(t, func(h *host) {
		h.all(`
docker network create -d ournet -o ournet.spoof_check=false --subnet 10.41.0.0/24 --gateway 10.41.0.1 lab
docker network create -d ournet --internal --subnet 10.42.0.0/24 --gateway 10.42.0.1 closed
docker run -d --name web --network lab --ip 10.41.0.9 busybox sleep 1d
docker run -d --name vault --network closed --ip 10.42.0.9 busybox sleep 1d
docker run -d --name shut --network closed busybox sleep 1d
`)
		h.answers("web", "web", "Success 5 10.41.0.9")
		h.sameAnswers("web", "web", "10.41.0.1")
		h.run(h.inside("web", "ip address add 10.41.0.66/24 dev eth0"))
		for _, question := range []string{"-b 10.41.0.66 web", "-b 10.41.0.66 +tcp " + outsideFQDN} {
			if got := h.asks("web", "10.41.0.1", question); got != "REFUSED" {
				h.Errorf("an address of no container is answered by %q", got)
			}
		}
		h.answers("shut", "vault", "Success 5 10.42.0.9")
		h.sameAnswers("shut", "vault.closed", "10.42.0.1")
		servers := []string{"10.42.0.1", "127.0.0.11"}
		if h.Engine == lab.Engine2010 {
			servers = servers[:1] // its own resolver says nothing
		}
		for _, question := range []string{outsideFQDN, "+tcp no.such.name"} {
			for _, server := range servers {
				if got := h.asks("shut", server, question); got != "SERVFAIL" {
					h.Errorf("without a way out %s is answered at %s by %q", question, server, got)
				}
			}
		}
		h.run("docker network connect lab shut")
		h.sameForeign("shut", outsideFQDN, "10.41.0.1", "10.42.0.1")
	})
}

// Names at the gateway come back whatever is done to what they need.
func TestGatewayNames_comeBack(t *testing.T) {
	each(t, func(h *host) {
		h.all(`
docker network create -d ournet -o com.docker.network.bridge.name=gate0 --subnet 10.43.0.0/24 --gateway 10.43.0.1 lab
docker run -d --name web --network lab --ip 10.43.0.9 busybox sleep 1d
docker run -d --name asker --network lab busybox sleep 1d
`)
		h.answers("asker", "web", "Success 5 10.43.0.9")
		l := h.startLookupsAt("asker", "10.43.0.1:53", "web", "10.43.0.9", true)
		h.killPlugin()
		l.areOurs()
		// What is taken away is gone when these commands return, so that an answer
		// after them is by what was made anew.
		for _, harm := range []string{"nft delete table inet ournet", "ip link del gate0"} {
			h.run(harm)
			h.soonAnswered("asker", "10.43.0.1", "web", "10.43.0.9")
		}
		l.end()
		before := h.listening("28533")
		if !strings.Contains(before, "10.43.0.1") {
			h.Errorf("these listen: %s, want 10.43.0.1", before)
		}
		h.run("docker rm -f web asker")
		h.run("docker network rm lab")
		err := lab.Poll(h.ctx, "the gateway's sockets to go", func() error {
			if now := h.listening("28533"); now != "" {
				return fmt.Errorf("these listen: %s", now)
			}
			return nil
		})
		if err != nil {
			h.Error(err)
		}
	})
}

// listening returns what listens at a port of the host.
func (h *host) listening(port string) string {
	h.Helper()
	return h.run("ss -Hlntu sport = :" + port)
}

// Where the host has no address on the network, it answers nothing.
func TestGatewayNames_notWhereTheHostHasNoAddress(t *testing.T) {
	each(t, func(h *host) {
		h.all(`
docker network create -d ournet -o com.docker.network.bridge.inhibit_ipv4=true --subnet 10.44.0.0/24 inhibited
docker network create -d ournet --internal -o com.docker.network.bridge.gateway_mode_ipv4=isolated --subnet 10.45.0.0/24 isolated
docker network create -d ournet --subnet 10.46.0.0/24 --gateway 10.46.0.1 --aux-address DefaultGatewayIPv4=10.46.0.254 elsewhere
docker run -d --name web --network elsewhere --ip 10.46.0.9 busybox sleep 1d
`)
		h.answers("web", "web", "Success 5 10.46.0.9")
		h.sameAnswers("web", "web", "10.46.0.1")
		if all := h.listening("28533"); strings.Contains(all, "10.44.") || strings.Contains(all, "10.45.") || !strings.Contains(all, "10.46.0.1") {
			h.Errorf("these listen: %s, want 10.46.0.1 alone", all)
		}
	})
}

// A client that uses one socket for all it asks, as many a resolver library does, gets to
// whoever is there: the engine or nobody while the plugin is away, and the plugin again
// once it is back, without a pause.
func TestGatewayNames_aSocketThatGoesOnAskingComesBack(t *testing.T) {
	each(t, func(h *host) {
		h.all(`
docker network create -d ournet --subnet 10.47.0.0/24 --gateway 10.47.0.1 lab
docker run -d --name web --network lab --ip 10.47.0.9 busybox sleep 1d
docker run -d --name asker --network lab --ip 10.47.0.8 busybox sleep 1d
`)
		const own, atGateway = "-b 127.0.0.1#5301 web", "-b 10.47.0.8#5302 web"
		h.soonAnswered("asker", "127.0.0.11", own, "5 IN A 10.47.0.9")
		h.soonAnswered("asker", "10.47.0.1", atGateway, "5 IN A 10.47.0.9")
		h.run("docker plugin disable -f " + pluginName)
		h.soonAnswered("asker", "127.0.0.11", own, "600 IN A 10.47.0.9")
		h.soonAnswered("asker", "10.47.0.1", atGateway, "no answer")
		h.run("docker plugin enable " + pluginName)
		h.soonAnswered("asker", "127.0.0.11", own, "5 IN A 10.47.0.9")
		h.soonAnswered("asker", "10.47.0.1", atGateway, "5 IN A 10.47.0.9")
	})
}
