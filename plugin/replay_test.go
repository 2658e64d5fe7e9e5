package plugin

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/ipam"
)

// update is read by golden tests alone.
var update = flag.Bool("update", false, "write the golden files anew")

func TestReplay_repliesAreGolden(t *testing.T) {
	t.Parallel()
	for _, engine := range engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			ask := s.serve(t)
			tr := make(translation)
			var got strings.Builder
			for _, r := range recordings(t, engine) {
				a := ask(r.Path, tr.body(t, r.Body))
				tr.learn(r, a)
				verdict := "ok"
				if a.Status != http.StatusOK {
					verdict = "REFUSED"
				}
				got.WriteString(r.Path + " " + verdict + " " + a.Body + "\n")
			}
			golden := filepath.Join("testdata", "replies-"+engine+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("replies (-want +got):\n%s", diff)
			}
		})
	}
}

// The engine repeats a request whose answer it did not get, so that any verb may
// come twice.
func TestReplay_everyVerbTwiceGivesTheSameAnswerAndState(t *testing.T) {
	t.Parallel()
	for _, engine := range engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			replayTwice(t, newRealStack(t), engine)
		})
	}
}

// replayTwice sends every recorded request twice in a row over a real socket.
func replayTwice(t *testing.T, s *stack, engine string) {
	t.Helper()
	ask := s.serve(t)
	tr := make(translation)
	seen := make(map[string]bool)
	for i, r := range recordings(t, engine) {
		body := tr.body(t, r.Body)
		first := ask(r.Path, body)
		before := s.state(t)
		second := ask(r.Path, body)
		tr.learn(r, first)
		seen[r.Path] = true
		if !repeatable(r) {
			giveBack(t, ask, r, body, first, second)
			continue
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Fatalf("request %d, %s %s: second answer differs (-first +second):\n%s", i, r.Path, body, diff)
		}
		if diff := cmp.Diff(before, s.state(t)); diff != "" {
			t.Fatalf("request %d, %s %s: repeating changed the state (-before +after):\n%s", i, r.Path, body, diff)
		}
	}
	for path := range s.paths {
		switch {
		case seen[path], strings.HasPrefix(path, "/ournet/"), path == "/Plugin.Activate":
		case strings.HasSuffix(path, "GwAllocCheck"), strings.HasSuffix(path, "AllocateNetwork"), strings.HasSuffix(path, "FreeNetwork"):
		case strings.Contains(path, ".Discover"):
			// Never sent to a driver that says scope "local" and no more.
		default:
			t.Errorf("%s was never replayed", path)
		}
	}
}

// repeatable reports whether repeating r has to give the same answer. What asks
// for "any" pool or address without a name gets another one each time: the engine
// itself asks for pools over and over until one suits it, and two containers that
// ask for any address at the same moment are told apart by nothing.
func repeatable(r recorded) bool {
	var req struct {
		Pool, Address string
		Options       map[string]any
	}
	if len(r.Body) == 0 || json.Unmarshal(r.Body, &req) != nil {
		return true
	}
	switch r.Path {
	case "/IpamDriver.RequestPool":
		return req.Pool != ""
	case "/IpamDriver.RequestAddress":
		return req.Address != "" || len(req.Options) > 0
	default:
		return true
	}
}

// giveBack checks that a repeated request for "any" gave another one, and gives
// that back.
func giveBack(t *testing.T, ask func(string, []byte) answer, r recorded, body []byte, first, second answer) {
	t.Helper()
	if first.Status != http.StatusOK || second.Status != http.StatusOK || first == second {
		t.Fatalf("%s %s twice = %v, %v, want two different ones", r.Path, body, first, second)
	}
	var fields struct{ PoolID, Address string }
	for _, text := range []string{string(body), second.Body} {
		if err := json.Unmarshal([]byte(text), &fields); err != nil {
			t.Fatal(err)
		}
	}
	fields.Address, _, _ = strings.Cut(fields.Address, "/")
	back, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	path := strings.Replace(r.Path, "Request", "Release", 1)
	if a := ask(path, back); a.Status != http.StatusOK {
		t.Fatalf("%s %s = %v", path, back, a)
	}
}

// translation maps what the recording plugin chose to what ours chose instead.
type translation map[string]string

// body returns a recorded body with our choices in it.
func (tr translation) body(t *testing.T, raw json.RawMessage) []byte {
	t.Helper()
	if len(raw) == 0 {
		return nil
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(tr.value(value))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (tr translation) value(v any) any {
	switch v := v.(type) {
	case string:
		if ours, ok := tr[v]; ok {
			return ours
		}
	case []any:
		for i := range v {
			v[i] = tr.value(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = tr.value(v[k])
		}
	}
	return v
}

// learn compares the recorded reply with ours.
func (tr translation) learn(r recorded, ours answer) {
	var theirs, mine struct{ PoolID, Pool, Address string }
	if json.Unmarshal(r.Reply, &theirs) != nil || json.Unmarshal([]byte(ours.Body), &mine) != nil {
		return // no object with names: nothing to learn
	}
	for _, pair := range [][2]string{{theirs.PoolID, mine.PoolID}, {theirs.Pool, mine.Pool}, {theirs.Address, mine.Address}} {
		if pair[0] == "" || pair[1] == "" {
			continue
		}
		tr[pair[0]] = pair[1]
		// The engine sends addresses without their prefix length as well, and in
		// the usual form whatever form the plugin wrote.
		theirPrefix, terr := netip.ParsePrefix(pair[0])
		myPrefix, merr := netip.ParsePrefix(pair[1])
		if terr == nil && merr == nil {
			tr[theirPrefix.String()] = myPrefix.String()
			tr[theirPrefix.Addr().String()] = myPrefix.Addr().String()
		}
	}
}

// The plugin may die after it has done what it was asked and before it says so.
func TestReplay_everyVerbAgainAfterACrashGivesTheSameAnswerAndState(t *testing.T) {
	t.Parallel()
	for _, engine := range engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newRealStack(t)
			tr := make(translation)
			for i, r := range recordings(t, engine) {
				body := string(tr.body(t, r.Body))
				first := s.ask(t, r.Path, body)
				tr.learn(r, first)
				before := s.state(t)
				s.restart(t)
				if !repeatable(r) {
					continue
				}
				if diff := cmp.Diff(first, s.ask(t, r.Path, body)); diff != "" {
					t.Fatalf("request %d, %s %s: answer after a crash differs (-before +after):\n%s", i, r.Path, body, diff)
				}
				if diff := cmp.Diff(before, s.state(t)); diff != "" {
					t.Fatalf("request %d, %s %s: crash and repetition changed the state (-before +after):\n%s", i, r.Path, body, diff)
				}
			}
		})
	}
}

// The recordings end with the engine removing everything.
func TestReplay_nothingIsLeftAfterTheEngineRemovedEverything(t *testing.T) {
	t.Parallel()
	for _, engine := range engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newRealStack(t)
			tr := make(translation)
			for _, r := range recordings(t, engine) {
				tr.learn(r, s.ask(t, r.Path, string(tr.body(t, r.Body))))
			}
			if len(s.kernel.networks)+len(s.kernel.joined)+len(s.kernel.ports) > 0 {
				t.Errorf("left behind:\n%s", s.state(t))
			}
			for _, prefix := range []string{store.LocalNetworksPrefix(), store.LocalEndpointsPrefix(), store.PoolsPrefix(ipam.SpaceHost)} {
				pairs, _, err := s.kv.List(t.Context(), prefix, 0)
				if err != nil || len(pairs) > 0 {
					t.Errorf("records left behind under %s: %v, %v", prefix, pairs, err)
				}
			}
		})
	}
}
