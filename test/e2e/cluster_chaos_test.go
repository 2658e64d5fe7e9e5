package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/test/lab"
)

const (
	// defaultRounds is how many rounds there are, and defaultScale what the times of
	// the troubles are multiplied with, where nobody says; `make chaos` does.
	defaultRounds = 6
	defaultScale  = 0.1
	// defaultSeed has a trouble of another kind in each of these rounds.
	defaultSeed = 53
	// chaosPeople is how many containers a host has at most.
	chaosPeople = 4
)

// Round after round some trouble comes over a cluster while containers come and go, and
// each time it has passed all is consistent again. No two containers ever have the same
// address.
//
// OURNET_SEED repeats a run's troubles and commands, OURNET_ROUNDS says how many rounds,
// OURNET_SCALE how long they take (1: hosts are cut off for 5, 30 or 120 s).
func TestClusterChaos(t *testing.T) {
	t.Parallel()
	seed := uint64(fromEnv(t, "OURNET_SEED", defaultSeed))
	rounds := int(fromEnv(t, "OURNET_ROUNDS", defaultRounds))
	scale := fromEnv(t, "OURNET_SCALE", defaultScale)
	t.Logf("OURNET_SEED=%d OURNET_ROUNDS=%d OURNET_SCALE=%g", seed, rounds, scale)
	inFreshCluster(t, clusterOptions{engines: mixed.engines(), servers: 3}, func(c *cluster) {
		c.overlay("one", "--subnet 10.80.0.0/24")
		c.overlay("two", "--ipv6 --subnet 10.81.0.0/16 --subnet fd00:81::/64")
		chaos := &chaos{cluster: c, random: rand.New(rand.NewPCG(seed, 0)), scale: scale}
		for round := range rounds {
			trouble := chaos.next()
			name := fmt.Sprintf("round %d, %s", round+1, trouble.name)
			begin := time.Now()
			passed := c.part(name, func(c *cluster) {
				inRound := *chaos
				inRound.cluster = c
				inRound.whileTheyComeAndGo(rand.New(rand.NewPCG(seed, uint64(round+1))), trouble)
				c.assertConsistent("in the quiet")
			})
			t.Logf("%s: %.1f s", name, time.Since(begin).Seconds())
			if !passed {
				return
			}
		}
		c.removeAll()
		c.assertStoreEmpty()
	})
}

func fromEnv(t *testing.T, name string, value float64) float64 {
	t.Helper()
	if text := os.Getenv(name); text != "" {
		var err error
		if value, err = strconv.ParseFloat(text, 64); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return value
}

// chaos chooses troubles.
type chaos struct {
	*cluster

	random *rand.Rand
	scale  float64
}

// trouble is something that happens to a cluster and passes: do returns when it has.
type trouble struct {
	name string
	do   func(c *chaos) error
}

// next returns another trouble.
func (c *chaos) next() trouble {
	who := c.random.IntN(len(c.hosts))
	seconds := []int{5, 30, 120}[c.random.IntN(3)]
	length := time.Duration(float64(seconds) * c.scale * float64(time.Second))
	cut := func(name string, how func(h *host) error) trouble {
		return trouble{fmt.Sprintf("h%d is cut off from %s for %s", who+1, name, length), func(c *chaos) error {
			err := how(c.hosts[who])
			<-time.After(length)
			return errors.Join(err, c.hosts[who].Heal(c.hosts[who].ctx))
		}}
	}
	switch c.random.IntN(7) {
	case 0:
		return cut("all", func(h *host) error { return h.Cut(h.ctx) })
	case 1:
		return cut("the hosts", func(h *host) error { return h.CutFromHosts(h.ctx) })
	case 2:
		return cut("Consul", func(h *host) error { return h.CutFromOutside(h.ctx) })
	case 3:
		return trouble{fmt.Sprintf("Consul's leader is gone for %s", length), func(c *chaos) error {
			leader := c.consul.Leader(c)
			leader.Kill(c)
			<-time.After(length)
			leader.Begin(c)
			return c.consul.Ready(c.host(1).ctx)
		}}
	case 4:
		return trouble{fmt.Sprintf("h%d crashes for good", who+1), func(c *chaos) error { return c.replace(c.hosts[who]) }}
	case 5:
		return trouble{fmt.Sprintf("h%d crashes and boots", who+1), func(c *chaos) error {
			h := c.hosts[who]
			return errors.Join(h.Crash(h.ctx), h.Boot(h.ctx))
		}}
	default:
		return trouble{fmt.Sprintf("the plugin of h%d is killed", who+1), func(c *chaos) error {
			h := c.hosts[who]
			before, err := h.PluginPID(h.ctx, pluginName)
			return errors.Join(err, h.KillPlugin(h.ctx, pluginName), h.pluginReturns(before))
		}}
	}
}

// replace ends a host and puts a new one in its place, with its name and its address.
func (c *chaos) replace(h *host) error {
	if err := h.Crash(h.ctx); err != nil {
		return err
	}
	if err := h.Wipe(); err != nil {
		return err
	}
	// Nobody may take out a host that is alive, and the others still think that it is.
	witness := c.host(1)
	if witness == h {
		witness = c.host(2)
	}
	begin := time.Now()
	err := lab.Poll(h.ctx, "the removal of the host", func() error {
		_, err := witness.try("docker ournet host rm " + h.Host.Name)
		return err
	})
	if err != nil {
		return err
	}
	c.Logf("%s was removed from the cluster after %.1f s", h.Host.Name, time.Since(begin).Seconds())
	if err := h.Boot(h.ctx); err != nil {
		return err
	}
	dir, err := pluginDir()
	if err != nil {
		return err
	}
	err = errors.Join(h.ImportImages(h.ctx), warmUp(h.ctx, h.Host), installCommand(h.ctx, h.Host))
	return errors.Join(err, h.InstallPlugin(h.ctx, dir, pluginName, c.store()))
}

// whileTheyComeAndGo has the trouble come while containers come and go on all hosts.
// Commands may fail then; a host may be away.
func (c *chaos) whileTheyComeAndGo(random *rand.Rand, t trouble) {
	c.Helper()
	ctx, stop := context.WithCancel(c.Context())
	defer stop()
	var g errgroup.Group
	done := make([]int, len(c.hosts))
	failed := make([]int, len(c.hosts))
	for i, h := range c.hosts {
		own := rand.New(rand.NewPCG(random.Uint64(), 0))
		g.Go(func() error {
			for ctx.Err() == nil {
				done[i]++
				if err := h.oneComesOrGoes(ctx, own); err != nil {
					failed[i]++
				}
			}
			return nil
		})
	}
	err := t.do(c)
	stop()
	if err := errors.Join(err, g.Wait()); err != nil {
		c.Fatalf("%s: %v", t.name, err)
	}
	c.Logf("commands on each host: %v, of which failed: %v", done, failed)
}

func (h *host) oneComesOrGoes(ctx context.Context, random *rand.Rand) error {
	name := fmt.Sprintf("%s-%d", h.Host.Name, random.IntN(chaosPeople))
	lines := []string{"docker rm -f " + name}
	if _, err := h.Docker(ctx, "container", "inspect", name); err != nil {
		lines = []string{
			"docker run -d --name " + name + " --network one busybox sleep 1d",
			"docker run -d --name " + name + " --network two busybox sleep 1d",
			"docker run -d --name " + name + " --network one --network-alias shared busybox sleep 1d",
			fmt.Sprintf("docker run -d --name %s --network two --ip 10.81.7.%d busybox sleep 1d", name, 10+random.IntN(9)),
		}
	} else {
		lines = append(lines, "docker restart "+name, "docker stop "+name, "docker start "+name,
			"docker network connect two "+name, "docker network disconnect two "+name)
	}
	line := lines[random.IntN(len(lines))]
	_, err := h.Docker(ctx, strings.Fields(line)[1:]...)
	return err
}
