package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

const (
	// chaosSteps is how many commands are run while the plugin is killed.
	chaosSteps = 22
	// chaosNames is how many containers there are at most.
	chaosNames = 6
	// unused is how long the plugin keeps what nobody took up or nobody knows, with the
	// time until it looks: 90 s, and as much again on a machine that has much else to do.
	unused = 180 * time.Second
)

// The plugin is killed at random moments, again and again, while containers come and
// go. Commands may fail then; but what the engine has told as done is done, and
// afterwards nothing is there that nobody needs.
//
// OURNET_SEED repeats a run's commands and the pauses between the kills.
func TestChaos_killsOfThePluginWhileContainersComeAndGo(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("OURNET_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("OURNET_SEED=%d", seed)
	eachFresh(t, func(h *host) {
		h.leaveClean()
		h.run("docker network create -d ournet --ipam-driver ournet --subnet 10.220.0.0/24 one")
		h.run("docker network create -d ournet --subnet 10.221.0.0/24 two")
		h.run("docker run -d --name anchor --network one busybox sleep 1d")
		h.run("docker network connect two anchor")

		enough, kills := make(chan struct{}), make(chan int)
		go func() { kills <- h.killNowAndThen(enough, rand.New(rand.NewPCG(seed, 1))) }()
		failed := h.comeAndGo(rand.New(rand.NewPCG(seed, 2)))
		close(enough)
		h.Logf("%d kills, %d of %d commands failed", <-kills, failed, chaosSteps)

		if err := h.pluginReturns(0); err != nil {
			h.Fatal(err)
		}
		h.neighboursReachEachOther("anchor")
		h.assertJustified(unused, "after the kills")
		h.neighboursReachEachOther("anchor")
		h.removeAll()
		h.assertJustified(unused, "after the removal of everything")
	})
}

// killNowAndThen kills the plugin, some time after the engine has taken it up, until
// it is enough. It returns how often it did.
func (h *host) killNowAndThen(enough <-chan struct{}, random *rand.Rand) int {
	before, kills := 0, 0
	for {
		pause := time.After(time.Duration(random.IntN(900)) * time.Millisecond)
		if err := h.pluginReturns(before); err != nil {
			h.Error(err)
			return kills
		}
		select {
		case <-pause:
		case <-enough:
			return kills
		}
		// A kill that has begun is not broken off: nobody would know whether another
		// process is to come.
		var err error
		if before, err = h.PluginPID(h.ctx, pluginName); err == nil {
			err = h.KillPlugin(h.ctx, pluginName)
		}
		if err != nil {
			h.Error(err)
			return kills
		}
		kills++
	}
}

// comeAndGo runs commands and returns how many failed.
func (h *host) comeAndGo(random *rand.Rand) int {
	failed := 0
	for range chaosSteps {
		name := fmt.Sprintf("c%d", random.IntN(chaosNames))
		lines := []string{"docker rm -f " + name}
		if _, err := h.try("docker container inspect " + name); err != nil {
			lines = []string{
				"docker run -d --name " + name + " --network one busybox sleep 1d",
				"docker run -d --name " + name + " --network two busybox sleep 1d",
				"docker run -d --name " + name + " --network one --ip 10.220.0.10" + name[1:] + " busybox sleep 1d",
			}
		} else {
			lines = append(lines, "docker restart "+name, "docker stop "+name, "docker start "+name,
				"docker network connect two "+name, "docker network disconnect two "+name)
		}
		line := lines[random.IntN(len(lines))]
		begin := time.Now()
		if _, err := h.try(line); err != nil {
			failed++
			h.Logf("after %.1f s: %v", time.Since(begin).Seconds(), err)
		}
	}
	return failed
}

// neighboursReachEachOther asserts that no two containers have the same address, and
// that each running one that is on a network reaches the anchor there, and is reached.
func (h *host) neighboursReachEachOther(anchor string) {
	h.Helper()
	all, err := h.inhabitants()
	if err != nil {
		h.Fatal(err)
	}
	if _, runs := all[anchor]; !runs {
		h.Fatalf("%s does not run: %s", anchor, h.docker("inspect", "--format", "{{json .State}}", anchor))
	}
	owners := map[string]string{}
	for name, c := range all {
		for network, a := range c.NetworkSettings.Networks {
			if other := owners[a.IPAddress]; other != "" {
				h.Errorf("%s and %s both have %s", name, other, a.IPAddress)
			}
			owners[a.IPAddress] = name
			if a.IPAddress == "" {
				h.Errorf("%s runs without an address on %s", name, network)
			}
			if name != anchor {
				h.reaches(name, h.address(anchor, network))
				h.reaches(anchor, a.IPAddress)
			}
		}
	}
	h.Logf("running: %v", slices.Sorted(maps.Keys(all)))
}
