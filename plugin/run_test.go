package plugin

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ournet/ournet/internal/config"
)

// An engine that finds a socket takes the plugin for enabled.
func TestRun_settingsThatCannotBeUsedAreRefusedBeforeThereIsASocket(t *testing.T) {
	t.Parallel()
	dir := socketFolder(t)
	cfg := config.Defaults()
	cfg.DefaultAddressPools = "garbage"
	cfg.ManagedSocket, cfg.SharedSocketDir = filepath.Join(dir, "managed.sock"), dir
	cfg.StateDir = dir
	listenAt(t, filepath.Join(dir, "ournet.sock")) // had it come to the sockets, this would be the error
	err := Run(t.Context(), cfg, discard())
	if !errors.Is(err, ErrStart) || !strings.Contains(err.Error(), "DEFAULT_ADDRESS_POOLS") {
		t.Errorf("Run with DEFAULT_ADDRESS_POOLS=garbage = %v, want ErrStart and the setting's name", err)
	}
}
