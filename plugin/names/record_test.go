package names

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/engine"
	"github.com/ournet/ournet/internal/store"
)

// A process that ends gives queries back; the next has everything from the records,
// before the engine says a word.
func TestLoad_theNextProcessTakesOver(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	h.Heard(engine.Event{Kind: engine.Resync})
	a := h.namespace("a")
	h.namespace("of-db")
	h.namespace("of-gone")
	asker := h.attach(engine.Inspection{ID: strings.Repeat("a", 64), Name: "asker"}, front, "10.1.0.2", a,
		engine.Attachment{Links: []engine.Link{{Target: "db", Alias: "foo"}}})
	db, left, gone := h.container("db", "10.1.0.3", "postgres"), h.container("left", "10.1.0.4"), h.container("gone", "10.1.0.5")
	for name, want := range map[string]string{"foo": "10.1.0.3", "left": "10.1.0.4", "gone": "10.1.0.5", "asker.front": "10.1.0.2"} {
		h.answers(a, name, want)
	}
	h.Leave(front, left.ID)
	h.saved(4 - 1)
	h.Close()
	if got := h.ask(a, "asker"); got != notOurs {
		t.Errorf("after Close asker is %q", got)
	}

	// One container ended while nobody was there, with its namespace.
	if err := os.Remove(filepath.Join(h.root, "run/docker/netns/of-gone")); err != nil {
		t.Fatal(err)
	}
	h.open(nil)
	h.Load(t.Context(), []driver.Attached{{
		Network: driver.Network{ID: front}, Endpoints: []driver.Endpoint{asker, db, gone, {ID: "idle", Network: front}},
	}})
	h.stations.open(t.Context(), h.keys())
	for name, want := range map[string]string{"foo": "10.1.0.3", "postgres": "10.1.0.3", "asker": "10.1.0.2", "gone": notOurs, "left": notOurs} {
		if got := h.ask(a, name); got != want {
			t.Errorf("with the engine not heard, %s is %q, want %q", name, got, want)
		}
	}
	h.saved(2)

	// Another did, and its namespace is still held by somebody.
	h.engine.set(func() {
		for id, c := range h.engine.containers {
			if c.Name == "db" || c.Name == "gone" {
				delete(h.engine.containers, id)
			}
		}
	})
	h.Heard(engine.Event{Kind: engine.Resync})
	h.answers(a, "db", notOurs)
	h.saved(1)
	h.answers(a, "asker.front", "10.1.0.2")
	h.RemoveNetwork(front)
	h.answers(a, "asker", notOurs)
}

// saved waits until so many endpoints' names are on record.
func (h *host) saved(want int) {
	h.t.Helper()
	h.eventually(func() string {
		pairs, _, err := h.kv.List(h.t.Context(), store.LocalNamesPrefix(), 0)
		if err != nil || len(pairs) != want {
			return fmt.Sprintf("%d names are on record (%v), want %d", len(pairs), err, want)
		}
		return ""
	})
}

func TestDecodeLabel_isStrict(t *testing.T) {
	t.Parallel()
	l := &label{
		container: "c9", name: "db", aliases: []string{"postgres"}, links: []engine.Link{{Target: "a", Alias: "b"}}, priority: 3, noIPv6: true,
	}
	b, err := encodeLabel(l)
	if err != nil {
		t.Fatal(err)
	}
	const golden = `{"Version":1,"Container":"c9","Name":"db","Aliases":["postgres"],"Links":[{"Target":"a","Alias":"b"}],"Priority":3,"NoIPv6":true}`
	if string(b) != golden {
		t.Errorf("encodeLabel = %s, want %s", b, golden)
	}
	if got, err := decodeLabel(b); err != nil || !got.equal(l) || !got.remembered {
		t.Errorf("decodeLabel = %+v, %v, want %+v, remembered", got, err, l)
	}
	for _, bad := range []string{``, `{}`, `{"Version":2}`, `{"Version":1,"Nom":"x"}`, `[]`} {
		if got, err := decodeLabel([]byte(bad)); err == nil {
			t.Errorf("decodeLabel(%s) = %+v, want an error", bad, got)
		}
	}
}
