package plugin

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ournet/ournet/internal/engine"
)

// A host that makes nothing for others still tells them of its own, as soon as it can.
func TestPropagate_ofAHostThatOnlyTells(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		h := w.hosts[0]
		w.mu.Lock()
		h.active, h.cut = false, errors.New("the cluster store is away")
		w.mu.Unlock()
		quiet()
		h.user(t, "lab", "1")
		quiet()
		w.assert(t, "while the cluster is away", "lab/1", "")
		if got := h.troubles()["c1"]; got != h.cut.Error() {
			t.Errorf("trouble %q, want %q", got, h.cut)
		}
		w.mu.Lock()
		h.cut = nil
		w.mu.Unlock()
		time.Sleep(lookEvery) //nolint:forbidigo // in synctest's time
		quiet()
		w.assert(t, "once it is back", "lab/1")
		if left := h.troubles(); len(left) > 0 {
			t.Errorf("troubles %v are left", left)
		}
	})
}

func TestPropagate_networkIsMadeAndRemovedEverywhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		quiet()
		w.hosts[0].user(t, "lab", "1")
		quiet()
		w.assert(t, "made on host 1", "lab/1")
		w.hosts[1].user(t, "lab2", "2")
		quiet()
		w.assert(t, "another made on host 2", "lab/1 lab2/2")
		w.hosts[2].remove(t, w.hosts[2].find("lab"))
		quiet()
		w.assert(t, "removed on host 3", "lab2/2")
		time.Sleep(3 * lookEvery) //nolint:forbidigo // in synctest's time
		w.assert(t, "some time later", "lab2/2")
	})
}

func TestPropagate_removalWaitsForContainers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		id := w.hosts[0].user(t, "lab", "1")
		quiet()
		w.hosts[1].attach("lab", 2)
		w.hosts[0].remove(t, id)
		quiet()
		w.assert(t, "removed while host 2 has containers", "", "lab/1", "")
		if p := w.hosts[1].troubles()["c1"]; !strings.Contains(p, "its last 2 containers") {
			t.Errorf("problem at host 2 = %q", p)
		}
		w.hosts[1].attach("lab", -1)
		quiet()
		w.assert(t, "one has left", "", "lab/1", "")
		w.hosts[1].attach("lab", -1)
		quiet()
		w.assert(t, "the last has left", "")
		if p := w.hosts[1].troubles(); len(p) > 0 {
			t.Errorf("problems at host 2 = %v, want none", p)
		}
	})
}

func TestPropagate_takenNameIsToldAndTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		own := w.hosts[1].user(t, "lab", "")
		w.hosts[0].user(t, "lab", "1")
		quiet()
		w.assert(t, "the name is taken on host 2", "lab/1", "lab")
		if p := w.hosts[1].troubles()["c1"]; !strings.Contains(p, "the name lab is taken on this host by network "+own+" (driver bridge)") {
			t.Errorf("problem at host 2 = %q", p)
		}
		w.hosts[1].remove(t, own)
		quiet()
		w.assert(t, "the name is free", "lab/1")
	})
}

func TestPropagate_hostThatWasAwayLearns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		old := w.hosts[0].user(t, "old", "1")
		quiet()
		w.hosts[1].end()
		w.hosts[0].remove(t, old)
		w.hosts[0].user(t, "new", "2")
		quiet()
		w.assert(t, "while host 2 is away", "new/2", "old/1")
		w.mu.Lock()
		w.hosts[1].away = errors.New("starting")
		w.mu.Unlock()
		w.hosts[1].begin()
		time.Sleep(time.Minute) //nolint:forbidigo // in synctest's time
		w.mu.Lock()
		if w.hosts[1].asked > 20 {
			t.Errorf("the engine that starts was asked %d times in a minute", w.hosts[1].asked)
		}
		w.hosts[1].away = nil
		w.mu.Unlock()
		w.hosts[1].heard(engine.Event{Kind: engine.Resync})
		quiet()
		w.assert(t, "host 2 is back", "new/2")
	})
}

func TestPropagate_oneComposeFileOnAllHostsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		for _, h := range w.hosts {
			h.end()
		}
		for i, h := range w.hosts { // before any of them has heard of another
			h.user(t, "shop_front", strconv.Itoa(i+1), "shop")
			time.Sleep(time.Millisecond) //nolint:forbidigo // in synctest's time
		}
		for _, h := range w.hosts {
			h.begin()
		}
		time.Sleep(time.Second) //nolint:forbidigo // in synctest's time
		w.assert(t, "after a second", "shop_front/1")
		for _, h := range w.hosts {
			if p := h.troubles(); len(p) > 0 {
				t.Errorf("problems at host %d = %v, want none", h.number, p)
			}
		}
	})
}

func TestPropagate_hostThatDoesNotWantToOnlyTells(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		w.hosts[1].end()
		w.hosts[1].active = false
		w.hosts[1].begin()
		first := w.hosts[0].user(t, "lab", "1")
		w.hosts[1].user(t, "mine", "2")
		quiet()
		w.assert(t, "PROPAGATE is off at host 2", "lab/1 mine/2", "mine/2")
		w.hosts[0].remove(t, first)
		w.hosts[0].remove(t, w.hosts[0].find("mine"))
		quiet()
		w.assert(t, "host 1 removed both", "", "mine/2")
	})
}

func TestPropagate_asksNothingWithoutNetworksOfTheCluster(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.hosts[0].user(t, "mine", "")
		time.Sleep(time.Hour) //nolint:forbidigo // in synctest's time
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.hosts[0].asked > 0 {
			t.Errorf("the engine was asked %d times", w.hosts[0].asked)
		}
	})
}
