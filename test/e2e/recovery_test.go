package e2e

import (
	"errors"
	"testing"
)

// Whatever ends at once or in order, the host is afterwards as it was before: with
// the same addresses, with all traffic, and with nothing that nobody needs.
func TestRecovery_bringsAllBackAndLeaksNothing(t *testing.T) {
	t.Parallel()
	eachFresh(t, func(h *host) {
		boot := func(h *host) error {
			// A boot loses what the engine made when it was first used.
			return errors.Join(h.Crash(h.ctx), h.Boot(h.ctx), warmUp(h.ctx, h.Host))
		}
		if err := boot(h); err != nil {
			h.Fatal(err)
		}
		h.leaveClean()
		h.assertJustified(settle, "of a clean host")
		e := openEstate(h)
		e.traffic()
		for _, event := range []struct {
			name string
			do   func(h *host) error
		}{
			{"restart of the engine", func(h *host) error { return h.RestartEngine(h.ctx) }},
			{"SIGKILL of the engine", (*host).crashEngine},
			{"SIGKILL of the plugin", func(h *host) error { h.killPlugin(); return nil }},
			{"crash and boot of the host", boot},
		} {
			passed := h.part(event.name, func(h *host) {
				if err := event.do(h); err != nil {
					h.Fatal(err)
				}
				e.in(h).isWhole()
			})
			if !passed {
				return
			}
		}
		h.removeAll()
		h.assertJustified(settle, "after the removal of everything")
	})
}
