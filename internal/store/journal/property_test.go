package journal_test

import (
	"errors"
	"maps"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/journal"
	"github.com/ournet/ournet/internal/store/memstore"
)

const (
	fence   = "hosts/1/journal"
	counter = "0" // before all other keys, so that it is not the last by its name
)

// said is what a key was last told to be.
type said struct {
	value string
	gone  bool
	n     int // in which call
}

// world is a host with a journal, a cluster store that may be away, and what the
// host said so far.
type world struct {
	local   *mortal
	cluster *flaky
	model   map[string]said
	n       int
}

func newWorld() *world {
	return &world{
		local:   &mortal{Store: memstore.New()},
		cluster: &flaky{Store: memstore.New()},
		model:   make(map[string]said),
	}
}

// journal is that of a process that has just been started.
func (w *world) journal() *journal.Journal {
	j := journal.New(discard(), w.local, w.cluster, fence)
	j.SetAtOnce(4) // as much as one call tells
	return j
}

// say tells of some keys, and of how much was told so far.
func (w *world) say(rt *rapid.T) {
	w.n++
	next := map[string]said{counter: {value: strconv.Itoa(w.n), n: w.n}}
	ops := []store.Op{store.Set(counter, []byte(strconv.Itoa(w.n)))}
	keys := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 3, rapid.ID[string]).Draw(rt, "keys")
	for _, key := range keys {
		s := said{value: strconv.Itoa(w.n), n: w.n, gone: rapid.Bool().Draw(rt, "gone")}
		next[key] = s
		if s.gone {
			ops = append(ops, store.Delete(key))
		} else {
			ops = append(ops, store.Set(key, []byte(s.value)))
		}
	}
	if err := w.journal().Say(rt.Context(), ops...); err != nil {
		rt.Fatalf("Say: %v", err)
	}
	maps.Copy(w.model, next)
}

// replay says what is pending, with whatever happens to it.
func (w *world) replay(rt *rapid.T) {
	draw := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) fate { return fate(rapid.IntRange(0, fates-1).Draw(rt, "fate")) }), 0, 6)
	w.cluster.meet(draw.Draw(rt, "cluster"))
	w.local.fates = draw.Draw(rt, "local")
	if rapid.Bool().Draw(rt, "told meanwhile") {
		w.cluster.after = func() {
			fates := w.local.fates
			w.local.fates = nil
			w.say(rt)
			w.local.fates = fates
		}
	}
	err := w.journal().Replay(rt.Context())
	w.cluster.meet(nil)
	w.cluster.after = nil
	w.local.fates = nil
	if err != nil && !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUncertain) && !errors.Is(err, errCrash) {
		rt.Fatalf("Replay: %v", err)
	}
}

func (w *world) land(rt *rapid.T) {
	if len(w.cluster.held) == 0 {
		rt.Skip("nothing is late")
	}
	if err := w.cluster.land(rapid.IntRange(0, len(w.cluster.held)-1).Draw(rt, "which")); err != nil {
		rt.Fatal(err)
	}
}

// cluster returns what others see.
func (w *world) seen(rt *rapid.T) map[string]string {
	pairs, _, err := w.cluster.List(rt.Context(), "", 0)
	if err != nil {
		rt.Fatal(err)
	}
	have := make(map[string]string)
	for _, p := range pairs {
		if p.Key != fence {
			have[p.Key] = string(p.Value)
		}
	}
	return have
}

// check wants that what was said is seen unless it is still to be said, and that
// nothing was overtaken.
func (w *world) check(rt *rapid.T) {
	have := w.seen(rt)
	told, err := strconv.Atoi(have[counter])
	if err != nil && have[counter] != "" {
		rt.Fatal(err)
	}
	for key, want := range w.model {
		_, err := w.local.Get(rt.Context(), store.LocalJournalKey(key))
		pending := err == nil
		value, there := have[key]
		right := there != want.gone && value == map[bool]string{false: want.value}[want.gone]
		if !right && !pending {
			rt.Fatalf("%s is %q (%t), was said to be %+v, and is not to be said any more", key, value, there, want)
		}
		if !right && want.n <= told {
			rt.Fatalf("%s is %q (%t) and was said to be %+v, but the %d. call was seen", key, value, there, want, told)
		}
	}
}

func TestJournal_losesNothingAndRepeatsHarmlessly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		rt.Repeat(map[string]func(*rapid.T){
			"say":    w.say,
			"replay": w.replay,
			"land":   w.land,
			"":       w.check,
		})
		// The trouble is over.
		for range 2 {
			if err := w.journal().Replay(rt.Context()); err != nil {
				rt.Fatalf("Replay: %v", err)
			}
			for len(w.cluster.held) > 0 {
				w.land(rt)
			}
			w.check(rt)
		}
		if n, err := w.journal().Pending(rt.Context()); err != nil || n != 0 {
			rt.Fatalf("%d keys are pending, %v", n, err)
		}
	})
}
