package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// Each part begins and ends with a host without the plugin, on which nothing of it
// is left.
func TestLifecycle(t *testing.T) {
	eachFromRegistry(t, func(h *host) {
		clean := h.settledState()
		for _, part := range []struct {
			name string
			do   func(h *host)
		}{
			{"the repository's plugin and command are put in place", fromTheRepository},
			{"networks survive settings and upgrades", fromInstallationToRemoval},
			{"bad settings are refused and can be mended", badSettings},
			{"what a removed plugin left is cleaned by the next", leftNetwork},
			{"records move to a plugin of another reference", movedRecords},
			{"two plugins live beside each other", twoPlugins},
		} {
			passed := h.part(part.name, func(h *host) {
				part.do(h)
				h.assertState(clean, "with no plugin")
			})
			if !passed {
				return
			}
		}
	})
}

// What `make install` does.
func fromTheRepository(h *host) {
	const reference = "ournet/ournet:dev"
	plugin, err := pluginDir()
	if err != nil {
		h.Fatal(err)
	}
	command, err := lab.BuiltCommand()
	if err != nil {
		h.Fatal(err)
	}
	script, err := filepath.Abs("../../tools/install.sh")
	if err != nil {
		h.Fatal(err)
	}
	h.run("rm " + lab.CommandFile)
	h.run("env DOCKER=" + h.Client() + " " + script + " " + reference + " " + plugin + " " + command + " " + filepath.Dir(lab.CommandFile))
	h.run("docker network create -d ournet lab")
	h.run("docker run -d --name web --network lab -p 8080:6379 redis")
	if got := h.published("docker ournet ports"); len(got) != 1 || got[0].HostAddress != "0.0.0.0:8080" {
		h.Errorf("the installed command shows %v, want one port on 0.0.0.0:8080", got)
	}
	h.removeAll()
	h.uninstall(reference)
}

// What a user does with the plugin, with containers that talk meanwhile.
func fromInstallationToRemoval(h *host) {
	installWithSettings(h)
	e := openEstate(h)
	setWithContainers(e)
	upgradeWithContainers(e)
	h.removeAll()
	h.uninstall(version1)
}

func (h *host) uninstall(plugin string) {
	h.Helper()
	h.run("docker plugin disable " + plugin)
	h.run("docker plugin rm " + plugin)
}

func installWithSettings(h *host) {
	h.run("docker plugin install --grant-all-permissions " + version1 + " LOG_LEVEL=debug DEFAULT_ADDRESS_POOLS=base=10.213.0.0/16,size=26")
	h.newSubnetIs("10.213.0.0/26")
	h.says("", "request answered")
}

// newSubnetIs asserts which subnet a network without --subnet gets.
func (h *host) newSubnetIs(want string) {
	h.Helper()
	h.run("docker network create -d ournet --ipam-driver ournet numbered")
	if got := h.network("numbered").IPAM.Config[0].Subnet; got != want {
		h.Errorf("a new network has the subnet %s, want %s", got, want)
	}
	h.run("docker network rm numbered")
}

// says waits until the engine's log has all of the words after what it had before.
func (h *host) says(before string, words ...string) {
	h.Helper()
	err := lab.Poll(h.ctx, "the engine's log", func() error {
		text, err := h.Logs()
		if err != nil {
			return err
		}
		for _, word := range words {
			if !strings.Contains(strings.TrimPrefix(text, before), word) {
				return fmt.Errorf("it does not say %q", word)
			}
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
}

func setWithContainers(e *estate) {
	h := e.h
	h.refuses("docker plugin set "+version1+" DEFAULT_ADDRESS_POOLS=base=10.214.0.0/16,size=25", "disable plugin before setting")
	h.refuses("docker plugin rm "+version1, "is enabled")
	s := e.startStreams()
	h.run("docker plugin disable -f " + version1)
	h.run("docker plugin set " + version1 + " DEFAULT_ADDRESS_POOLS=base=10.214.0.0/16,size=25")
	// New connections need no plugin either, nor do names.
	e.traffic()
	h.run("docker plugin enable " + version1)
	s.areWhole()
	h.newSubnetIs("10.214.0.0/25")
}

func upgradeWithContainers(e *estate) {
	h := e.h
	const upgrade = "docker plugin upgrade --skip-remote-check --grant-all-permissions " + version1 + " " + version2
	h.refuses(upgrade, "must be disabled before upgrading")
	h.hasFile(version1, versionFile, false)
	s := e.startStreams()
	h.run("docker plugin disable -f " + version1)
	h.run(upgrade)
	h.run("docker plugin enable " + version1)
	s.areWhole()
	// The version is another one; name, settings and networks are those that were.
	h.hasFile(version1, versionFile, true)
	if got := h.run("docker plugin inspect -f {{.PluginReference}} " + version1); got != version2 {
		h.Errorf("the plugin's reference is %s, want %s", got, version2)
	}
	h.newSubnetIs("10.214.0.0/25")
	e.isWhole()
	h.run("docker restart web app vault")
	e.isWhole()
	h.run("docker run --rm --network front busybox ping -c 1 -W 10 web")
	h.run("docker network create -d ournet later")
	h.run("docker run --rm --network later busybox true")
	h.run("docker network rm later")
}

// hasFile asserts whether the plugin's process has a file in its root file system.
func (h *host) hasFile(plugin, file string, want bool) {
	h.Helper()
	pid, err := h.PluginPID(h.ctx, plugin)
	if err != nil {
		h.Fatal(err)
	}
	_, err = os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "root", file))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.Fatal(err)
	}
	if got := err == nil; got != want {
		h.Errorf("that the plugin has /%s is %t, want %t", file, got, want)
	}
}

// An engine that gives a plugin up says only that nobody listens, after 12 seconds;
// its log says why. What was wrong can then be mended, on Engine 20.10 only because
// the process waits to be stopped.
func badSettings(h *host) {
	before, err := h.Logs()
	if err != nil {
		h.Fatal(err)
	}
	h.run("docker plugin install --disable --grant-all-permissions " + version1 + " LOG_LEVEL=loud NAME=Bad/Name")
	h.refuses("docker plugin enable "+version1, "ournet.sock: connect: no such file or directory")
	h.says(before, `LOG_LEVEL=\"loud\": want error, warn, info, debug or trace`, `NAME=\"Bad/Name\": want lower-case letters`)
	h.run("docker plugin set " + version1 + " LOG_LEVEL= NAME=")
	h.run("docker plugin enable " + version1)
	h.run("docker network create -d ournet n")
	h.run("docker run --rm --network n busybox true")
	h.run("docker network rm n")
	h.uninstall(version1)
}

// The engine lets a plugin be removed whose networks it knows by the short name. The
// records go with it; the next plugin of that name makes order.
func leftNetwork(h *host) {
	h.run("docker plugin install --grant-all-permissions " + version1)
	h.run("docker network create -d ournet --ipam-driver ournet left")
	h.uninstall(version1)
	if devices, err := h.deviceLines(); err != nil || len(devices) != 1 {
		h.Errorf("without the plugin the host has %q (%v), want the bridge of its network", devices, err)
	}
	h.run("docker plugin install --grant-all-permissions " + version2)
	h.run("docker network rm left")
	h.uninstall(version2)
}

// The records are of one installed plugin, but they are a file (docs/install.md).
func movedRecords(h *host) {
	h.run("docker plugin install --grant-all-permissions " + version1)
	h.run("docker network create -d ournet --ipam-driver ournet moved")
	h.run("docker run -d --name stays --network moved -p 8083:6379 redis")
	before := h.address("stays", "moved")
	h.run("docker plugin install --disable --grant-all-permissions " + version2)
	h.run("docker plugin disable " + version1)
	from, to := h.propagatedMount(version1), h.propagatedMount(version2)
	h.run("mkdir -p " + to)
	h.run("cp -p " + from + "/ournet.db " + to + "/")
	h.run("docker plugin enable " + version2)
	h.run("docker plugin rm " + version1)
	h.calledFromOutside("tcp", h.Address().String()+":8083")
	h.run("docker restart stays")
	h.calledFromOutside("tcp", h.Address().String()+":8083")
	if after := h.address("stays", "moved"); after != before {
		h.Errorf("the container has the address %s, it had %s", after, before)
	}
	h.run("docker rm -f stays")
	h.run("docker network rm moved")
	h.uninstall(version2)
}

// propagatedMount returns the folder of an installed plugin's records.
func (h *host) propagatedMount(plugin string) string {
	h.Helper()
	return "/var/lib/docker/plugins/" + h.run("docker plugin inspect -f {{.Id}} "+plugin) + "/propagated-mount"
}
