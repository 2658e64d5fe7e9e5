package e2e

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/test/lab"
)

// firstLookups is how many containers begin with a lookup: enough for every change;
// more by `go test ./test/e2e -v -run ForTheFirstInstruction -args -starts 200` after `make setup plugin`.
var firstLookups = flag.Int("starts", 16, "how many containers begin with a lookup")

// A container's first instruction is a lookup. Who answers is told by the TTL: on
// engines from 28 on it must be us; on older ones the engine may be first, which is
// right too, for names of this host.
func TestNames_areThereForTheFirstInstruction(t *testing.T) {
	each(t, func(h *host) {
		h.all(`
docker network create -d ournet --ipam-driver ournet --subnet 10.32.0.0/16 lab
docker run -d --name target --network lab --ip 10.32.9.9 busybox sleep 1d
`)
		h.answers("target", "target", "Success 5 10.32.9.9")
		right := []string{"Success 5 10.32.9.9"}
		if h.Engine == lab.Engine2010 {
			right = append(right, "Success 600 10.32.9.9")
		}
		firstAnswersAre(h.reporter, right, h)
	})
}

// The same with a name of another host, which no engine's resolver knows.
func TestCluster_namesAreThereForTheFirstInstruction(t *testing.T) {
	inClusters(t, []composition{allOld, allNew}, func(c *cluster) {
		c.overlay("lab", "--subnet 10.32.0.0/16")
		c.host(2).run("docker run -d --name target --network lab --ip 10.32.9.9 busybox sleep 1d")
		const right = "Success 5 10.32.9.9"
		askers := []*host{c.host(1), c.host(3)}
		for _, h := range askers {
			h.run("docker run -d --name asker --network lab busybox sleep 1d")
			h.answers("asker", "target", right)
			h.run("docker rm -f asker")
		}
		firstAnswersAre(c.reporter, []string{right}, askers...)
	})
}

// firstAnswersAre starts containers on these hosts in turn, several at a time, each of
// which begins with a query for the name target, and asserts that each is answered so.
func firstAnswersAre(t reporter, right []string, hosts ...*host) {
	t.Helper()
	answers := make([]string, *firstLookups)
	var g errgroup.Group
	g.SetLimit(8)
	for i := range answers {
		h := hosts[i%len(hosts)]
		g.Go(func() (err error) {
			answers[i], err = h.Docker(h.ctx, "run", "--rm", "--init=false", "--network", "lab", lab.BusyboxImage,
				"probe", "query", "-patience", "5s", "target") // as long as resolvers wait
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	counted, good := make(map[string]int), 0
	for _, a := range answers {
		_, answer, _ := strings.Cut(a, " ")
		counted[answer]++
		if slices.Contains(right, answer) {
			good++
		}
	}
	t.Logf("answers to the first instruction: %v", counted)
	if good != len(answers) {
		t.Errorf("%d of %d answers are right: %v", good, len(answers), counted)
	}
}

// TestNames_everyKindOfQuestion asks one container with all tools that people use.
func TestNames_everyKindOfQuestion(t *testing.T) {
	each(t, func(h *host) {
		h.all(`
docker network create -d ournet --ipam-driver ournet --ipv6 --subnet 10.33.0.0/24 --subnet fd00:33::/64 lab
docker network create -d ournet --ipam-driver ournet --subnet 10.34.0.0/24 four
docker run -d --name web --hostname Web-1 --network lab --ip 10.33.0.9 --ip6 fd00:33::9 --network-alias www busybox sleep 1d
docker run -d --name old --network four --ip 10.34.0.9 busybox sleep 1d
docker run -d --name asker --network lab busybox sleep 1d
docker network connect four asker
`)
		id := h.container("web").ID[:12]
		h.resolves("asker", "web", "10.33.0.9", "fd00:33::9")
		h.resolves("asker", "old", "10.34.0.9")
		dig := func(args string) string {
			return h.run(h.inside("asker", "dig @127.0.0.11 +noall +answer +comments "+args))
		}
		for _, c := range []struct {
			args string
			want []string // in this order
		}{
			{"web", []string{"status: NOERROR", "flags: qr aa rd ra", "web.", "5", "IN", "A", "10.33.0.9"}},
			{"+tcp WEB.lab", []string{"NOERROR", "10.33.0.9"}},
			{"+noedns web-1", []string{"NOERROR", "10.33.0.9"}},
			{"+bufsize=512 www.LAB", []string{"NOERROR", "10.33.0.9"}},
			{id, []string{"NOERROR", "10.33.0.9"}},
			{"aaaa web", []string{"NOERROR", "AAAA", "fd00:33::9"}},
			{"aaaa old", []string{"NOERROR", "ANSWER: 0"}},
			{"srv web", []string{"NOERROR", "ANSWER: 0"}},
			{"+tcp mx www.lab", []string{"NOERROR", "ANSWER: 0"}},
			{"-x 10.33.0.9", []string{"NOERROR", "PTR", "web.", "PTR", "web.lab."}},
			{"-x fd00:33::9", []string{"NOERROR", "PTR", "web.", "PTR", "web.lab."}},
			{"web.four", []string{"status: NXDOMAIN"}},
			{outsideFQDN, []string{"NOERROR", h.lab.Outside.Address().String()}},
			{"no.such.name", []string{"status: NXDOMAIN"}},
		} {
			rest := dig(c.args)
			out := rest
			for _, word := range c.want {
				var ok bool
				if _, rest, ok = strings.Cut(rest, word); !ok {
					h.Errorf("dig %s lacks %q of %q:\n%s", c.args, word, c.want, out)
					break
				}
			}
		}
		getent := "docker exec asker " + h.glibc("asker") + " "
		for line, want := range map[string]string{
			getent + "ahostsv4 web.lab":        "10.33.0.9",
			getent + "ahosts WEB":              "fd00:33::9",
			getent + "hosts 10.33.0.9":         "web",
			getent + "hosts fd00:33::9":        "web",
			"docker exec asker nslookup www":   "10.33.0.9",
			"docker exec asker nslookup web-1": "fd00:33::9",
			"docker exec asker ping -c 1 old":  "10.34.0.9",
			"docker exec asker ping6 -c 1 web": "fd00:33::9",
			getent + "ahostsv4 " + outsideFQDN: h.lab.Outside.Address().String(),
		} {
			if out, err := h.try(line); err != nil || !strings.Contains(out, want) {
				h.Errorf("%s: %s (%v), want %s", line, out, err, want)
			}
		}
		h.run("docker rename web neu")
		h.answers("asker", "neu", "Success 5 10.33.0.9")
		h.badAddress("asker", "web")
		h.namesAreWhatTheEngineShows("asker", "neu", "lab")
	})
}

// namesAreWhatTheEngineShows asserts that every name that `docker inspect` shows of a
// container is answered by us.
func (h *host) namesAreWhatTheEngineShows(asker, container, network string) {
	h.Helper()
	field := "DNSNames"
	if h.Engine == lab.Engine2010 {
		field = "Aliases" // it has no other
	}
	format := "{{range (index .NetworkSettings.Networks \"" + network + "\")." + field + "}}{{.}} {{end}}"
	shown := strings.Fields(h.docker("inspect", "-f", format, container))
	if len(shown) < 2 || !slices.Contains(shown, h.container(container).ID[:12]) {
		h.Errorf("the engine shows the names %q of %s, want its short id among them", shown, container)
	}
	for _, name := range shown {
		h.answers(asker, name, "Success 5 "+h.address(container, network))
	}
}
