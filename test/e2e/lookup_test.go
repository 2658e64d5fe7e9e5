package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ournet/ournet/test/lab"
)

// resolves asserts that a name leads to exactly these addresses in the container, once
// what has just been done is known.
func (h *host) resolves(container, name string, want ...string) {
	h.Helper()
	slices.Sort(want)
	err := lab.Poll(h.ctx, "a name", func() error {
		out, err := h.Docker(h.ctx, "exec", container, "probe", "lookup", name)
		got := strings.Fields(out)
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			return fmt.Errorf("in %s, %s has the addresses %q (%w), want %q", container, name, got, err, want)
		}
		return nil
	})
	if err != nil {
		h.Error(err)
	}
}

// resolvesNow is resolves for what must not take a moment.
func (h *host) resolvesNow(container, name string, want ...string) {
	h.Helper()
	slices.Sort(want)
	out, err := h.Docker(h.ctx, "exec", container, "probe", "lookup", name)
	got := strings.Fields(out)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		h.Errorf("in %s, %s has the addresses %q (%v), want %q", container, name, got, err, want)
	}
}

// inside returns a command of the host as one that runs in the container's network.
func (h *host) inside(container, line string) string {
	h.Helper()
	return "nsenter -t " + strconv.Itoa(h.container(container).State.Pid) + " -n -- " + line
}

// answers asserts what our resolver answers to one query in the container, when it has
// learned what has just been done: code, TTL and addresses. The TTL tells ours from the
// engine's, which is 600.
func (h *host) answers(container, name, want string) {
	h.Helper()
	err := lab.Poll(h.ctx, "an answer", func() error {
		out, err := h.Docker(h.ctx, "exec", container, "probe", "query", name)
		if _, got, _ := strings.Cut(out, " "); err != nil || got != want {
			return fmt.Errorf("in %s, %s is answered by %q (%w), want %q", container, name, got, err, want)
		}
		return nil
	})
	if err != nil {
		h.Error(err)
	}
}

// lookups are queries for one name, again and again, by a client that needs neither
// engine nor plugin to run.
type lookups struct {
	h       *host
	running *lab.Running
	want    string // what ours is
	mayMiss bool   // whether an answer may be missing
}

// strictPatience is how long a query waits for its answer where none may be missing. It is
// nearly as long as resolvers wait, and less than the 5 s for which a probe that is stopped
// may still say that its last query had none.
const strictPatience = "4s"

// startLookups asks the container's resolver for a name that has that address. An answer
// may be missing, or not.
func (h *host) startLookups(container, name, addr string, mayMiss bool) *lookups {
	h.Helper()
	return h.startLookupsAt(container, "127.0.0.11:53", name, addr, mayMiss)
}

// startLookupsAt asks a server from the container's namespace.
func (h *host) startLookupsAt(container, server, name, addr string, mayMiss bool) *lookups {
	h.Helper()
	probe, err := h.lab.Probe(h.ctx)
	if err != nil {
		h.Fatal(err)
	}
	query := " query -server " + server + " -every 20ms -for 10m "
	if !mayMiss {
		query += "-patience " + strictPatience + " "
	}
	line := h.inside(container, probe+query+name)
	r, err := h.Start(h.lasting(), strings.Fields(line)...)
	if err != nil {
		h.Fatal(err)
	}
	l := &lookups{h: h, running: r, want: "Success 5 " + addr, mayMiss: mayMiss}
	h.Cleanup(func() { _, _ = r.Stop() }) // the test has judged it
	l.areOurs()
	return l
}

// areOurs waits until the answers are ours again.
func (l *lookups) areOurs() {
	l.h.Helper()
	err := lab.Poll(l.h.ctx, "answers of ours", func() error {
		if all := l.answers(); len(all) == 0 || !strings.HasSuffix(all[len(all)-1], " "+l.want) {
			return fmt.Errorf("the answers are %q, want %q", all, l.want)
		}
		return nil
	})
	if err != nil {
		l.h.Error(err)
	}
}

// answers returns the answers so far: when each came first, and what it was.
func (l *lookups) answers() []string {
	lines := strings.Split(strings.TrimSpace(l.running.Output()), "\n")
	return slices.DeleteFunc(lines, func(line string) bool { return line == "" })
}

// end ends them and asserts that no answer was wrong, and if none may be missing, that
// none was. Whoever answers, there is one right address.
func (l *lookups) end() {
	l.h.Helper()
	l.areOurs()
	if _, err := l.running.Stop(); err != nil {
		l.h.Error(err)
	}
	all := l.answers()
	times, longest := missed(all, l.want)
	l.h.Logf("names were missing %d times, for %d ms at most; lookups: %q", times, longest, all)
	addr := l.want[strings.LastIndex(l.want, " ")+1:]
	for _, line := range all {
		_, answer, _ := strings.Cut(line, " ")
		words := strings.Fields(answer)
		switch {
		case answer == l.want, answer == "end":
		case words[0] == "Success" && (len(words) != 3 || words[2] != addr), words[0] == "NameError":
			l.h.Errorf("a lookup was answered by %q, want %s", answer, addr)
		case !l.mayMiss:
			l.h.Errorf("a lookup was answered by %q, want %s", answer, l.want)
		}
	}
}

// missed returns how often the answers were not those that are wanted, and for how many
// milliseconds at most.
func missed(all []string, want string) (times, longest int) {
	since := -1
	for _, line := range all {
		at, answer, _ := strings.Cut(line, " ")
		ms, err := strconv.Atoi(at)
		switch {
		case err != nil:
		case answer != want && answer != "end" && since < 0:
			since, times = ms, times+1
		case answer == want && since >= 0:
			longest, since = max(longest, ms-since), -1
		}
	}
	return times, longest
}

// glibc puts the machine's getent, with the C library that it needs, into a container,
// and returns the command that runs it there.
func (h *host) glibc(container string) string {
	h.Helper()
	file := h.run("which getent")
	h.run("docker exec " + container + " mkdir /glibc")
	loader := ""
	for line := range strings.Lines(h.run("ldd " + file)) {
		for word := range strings.FieldsSeq(line) {
			if !strings.HasPrefix(word, "/") {
				continue
			}
			h.run("docker cp -L " + word + " " + container + ":/glibc/")
			if name := word[strings.LastIndex(word, "/")+1:]; strings.HasPrefix(name, "ld-") {
				loader = name
			}
		}
	}
	h.run("docker cp -L " + file + " " + container + ":/glibc/")
	if loader == "" {
		h.Fatal(errors.New("getent has no loader"))
	}
	return "/glibc/" + loader + " --library-path /glibc /glibc/getent"
}
