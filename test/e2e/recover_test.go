package e2e

import (
	"errors"
	"fmt"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// shop is a network with two containers that come back by themselves, one of them
// with a published port.
type shop struct {
	h         *host
	addresses map[string]string
}

func openShop(h *host) *shop {
	h.Helper()
	h.run("docker network create -d ournet --ipam-driver ournet shop")
	h.run("docker run -d --restart always --name first --network shop busybox sleep 1d")
	h.run("docker run -d --restart always --name keeper --network shop -p 8085:6379 -p 8085:6379/udp redis")
	h.run("docker run -d --restart always --name client --network shop busybox sleep 1d")
	// An address is free again in between: what comes back must not shift into it.
	h.run("docker rm -f first")
	s := &shop{h: h, addresses: map[string]string{}}
	for _, name := range []string{"keeper", "client"} {
		s.addresses[name] = h.address(name, "shop")
	}
	return s
}

// isOpen asserts that both containers run, at once or soon, with the addresses they
// had, and that all traffic flows.
func (s *shop) isOpen() {
	s.h.Helper()
	err := lab.Poll(s.h.ctx, "the containers to run again", func() error {
		for name := range s.addresses {
			out, err := s.h.try("docker container inspect -f {{.State.Running}} " + name)
			if err != nil || out != "true" {
				return fmt.Errorf("%s runs: %s %w", name, out, err)
			}
		}
		return nil
	})
	if err != nil {
		s.h.Fatal(err)
	}
	for name, address := range s.addresses {
		if got := s.h.address(name, "shop"); got != address {
			s.h.Errorf("%s has the address %s, it had %s", name, got, address)
		}
	}
	s.h.reaches("client", "keeper")
	s.h.reaches("keeper", s.addresses["client"])
	if seen := s.h.seenOutside("client", "tcp"); seen != s.h.Address().String() {
		s.h.Errorf("the outside sees %s, want the host's %s", seen, s.h.Address())
	}
	for _, protocol := range []string{"tcp", "udp"} {
		if seen := s.h.calledFromOutside(protocol, s.published()); seen != s.h.lab.Outside.Address().String() {
			s.h.Errorf("by %s the server saw %s, want the outside's own address", protocol, seen)
		}
	}
}

func (s *shop) published() string { return s.h.Address().String() + ":8085" }

func TestRecover_fromARestartOfTheEngine(t *testing.T) {
	each(t, func(h *host) {
		s := openShop(h)
		s.isOpen()
		if err := h.RestartEngine(h.ctx); err != nil {
			h.Fatal(err)
		}
		s.isOpen()
	})
}

func TestRecover_fromAKilledEngine(t *testing.T) {
	each(t, func(h *host) {
		s := openShop(h)
		s.isOpen()
		if err := errors.Join(h.KillEngine(h.ctx), h.StartEngine(h.ctx)); err != nil {
			h.Fatal(err)
		}
		s.isOpen()
	})
}

func TestRecover_fromACrashOfTheHost(t *testing.T) {
	eachFresh(t, func(h *host) {
		// A boot loses what the engine made when it was first used.
		crash := func() {
			if err := errors.Join(h.Crash(h.ctx), h.Boot(h.ctx), warmUp(h.ctx, h.Host)); err != nil {
				h.Fatal(err)
			}
		}
		crash()
		h.leaveClean()
		s := openShop(h)
		s.isOpen()
		crash()
		s.isOpen()
	})
}

func TestRecover_fromAKilledPluginWithNoPacketLost(t *testing.T) {
	each(t, func(h *host) {
		s := openShop(h)
		s.isOpen()
		flows := s.startFlows()
		before, err := h.PluginPID(h.ctx, pluginName)
		if err != nil {
			h.Fatal(err)
		}
		if err := h.KillPlugin(h.ctx, pluginName); err != nil {
			h.Fatal(err)
		}
		err = lab.Poll(h.ctx, "a new process of the plugin", func() error {
			now, err := h.PluginPID(h.ctx, pluginName)
			if err == nil && now == before {
				err = errors.New("it is the old one")
			}
			return err
		})
		if err != nil {
			h.Fatal(err)
		}
		for name, f := range flows {
			f.assertWhole(h, name)
		}
		s.isOpen()
		h.run("docker run --rm --network shop busybox ping -c 1 -W 2 keeper")
	})
}
