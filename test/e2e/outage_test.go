package e2e

import (
	"errors"
	"time"

	"github.com/ournet/ournet/test/lab"
)

// killPlugin ends the plugin's process at once and returns when the engine has taken
// up another one.
func (h *host) killPlugin() {
	h.Helper()
	before, err := h.PluginPID(h.ctx, pluginName)
	if err != nil {
		h.Fatal(err)
	}
	begin := time.Now()
	if err := h.KillPlugin(h.ctx, pluginName); err != nil {
		h.Fatal(err)
	}
	if err := h.pluginReturns(before); err != nil {
		h.Fatal(err)
	}
	h.Logf("the plugin is back %d ms after its SIGKILL", time.Since(begin).Milliseconds())
}

// pluginReturns waits until the engine has taken up a process of the plugin, another
// one than before.
func (h *host) pluginReturns(before int) error {
	return lab.Poll(h.ctx, "another process of the plugin", func() error {
		now, err := h.PluginPID(h.ctx, pluginName)
		if err != nil {
			return err
		}
		if now == before {
			return errors.New("it is the old process")
		}
		return h.welcomed()
	})
}

// crashEngine ends the engine's daemon at once and starts another.
func (h *host) crashEngine() error {
	return errors.Join(h.KillEngine(h.ctx), h.StartEngine(h.ctx))
}
