package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/test/lab"
)

const (
	// defaultRounds is how many rounds there are, in how many clusters, and defaultScale
	// what the times of the troubles are multiplied with, where nobody says; `make chaos`
	// does.
	defaultRounds   = 6
	defaultClusters = 1
	defaultScale    = 0.1
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
// OURNET_SCALE how long they take (1: hosts are cut off for 5, 30 or 120 s), and
// OURNET_CLUSTERS in how many clusters at the same time; each of them has its share of
// the rounds, and its own troubles. go test runs as many at once as -parallel says.
func TestClusterChaos(t *testing.T) {
	t.Parallel()
	r := chaosRun{
		seed:     uint64(fromEnv(t, "OURNET_SEED", defaultSeed)),
		rounds:   int(fromEnv(t, "OURNET_ROUNDS", defaultRounds)),
		clusters: int(fromEnv(t, "OURNET_CLUSTERS", defaultClusters)),
		scale:    fromEnv(t, "OURNET_SCALE", defaultScale),
	}
	t.Logf("OURNET_SEED=%d OURNET_ROUNDS=%d OURNET_CLUSTERS=%d OURNET_SCALE=%g", r.seed, r.rounds, r.clusters, r.scale)
	for number := range r.clusters {
		t.Run(fmt.Sprintf("cluster %d", number+1), func(t *testing.T) {
			t.Parallel()
			inFreshCluster(t, clusterOptions{engines: mixed.engines(), servers: 3}, func(c *cluster) { r.in(c, number) })
		})
	}
}

// chaosRun is what a run is like.
type chaosRun struct {
	seed             uint64
	rounds, clusters int
	scale            float64
}

// share returns how many of the rounds a cluster has; the first is 0.
func (r chaosRun) share(number int) int {
	return (r.rounds + r.clusters - 1 - number) / r.clusters
}

// random returns what chooses in a round of a cluster, and for round 0 the troubles. It
// is the same for the same seed, and different for each cluster and round.
func (r chaosRun) random(number, round int) *rand.Rand {
	return rand.New(rand.NewPCG(r.seed, uint64(number)<<32|uint64(round)))
}

// in has the share of one cluster.
func (r chaosRun) in(c *cluster, number int) {
	c.Helper()
	c.patientOverlay("one", "--subnet 10.80.0.0/24")
	c.patientOverlay("two", "--ipv6 --subnet 10.81.0.0/16 --subnet fd00:81::/64")
	chaos := &chaos{cluster: c, random: r.random(number, 0), scale: r.scale}
	var took []time.Duration
	for round := 1; round <= r.share(number); round++ {
		trouble := chaos.next()
		name := fmt.Sprintf("round %d, %s", round, trouble.name)
		begin := time.Now()
		passed := c.part(name, func(c *cluster) {
			defer c.watch("one", "two")()
			inRound := *chaos
			inRound.cluster = c
			inRound.whileTheyComeAndGo(r.random(number, round), trouble)
			took = append(took, c.assertConsistent("in the quiet"))
		})
		c.Logf("%s: %.1f s", name, time.Since(begin).Seconds())
		if !passed {
			return
		}
	}
	c.removeAll()
	c.assertStoreEmpty()
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	inTime, _ := slices.BinarySearch(took, promised+1)
	c.Logf("%d rounds; consistent after %.2f s at the median, %.2f s at most, and in %d later than %s",
		len(took), took[len(took)/2].Seconds(), took[len(took)-1].Seconds(), len(took)-inTime, promised)
}

// patientOverlay is [cluster.overlay] beside other clusters: on a machine with that much
// to do, Consul may just be electing a leader, and a network is not made then.
func (c *cluster) patientOverlay(name, options string) {
	c.Helper()
	h := c.host(1)
	err := lab.Poll(h.ctx, "network "+name, func() error {
		_, err := h.try("docker network create -d ournet -o type=overlay --ipam-driver ournet " + options + " " + name)
		return err
	})
	if err != nil {
		c.Fatal(err)
	}
	c.everywhere(name)
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
	if err := c.remove(h); err != nil {
		return err
	}
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

// How long the removal of a host that is gone may take. Consul takes it for alive until
// its lease has run out, for twice the 10 s that it is for, and for as long again after
// each election: a new leader does not know when a host was last heard of
// (agent/consul/session_ttl.go, initializeSessionTimers). The rest is for the removal
// itself, which waits for a leader, and for a machine that does much else.
const (
	leaseTime    = 20 * time.Second
	removalTime  = 40 * time.Second
	removalsTime = 10 * time.Minute // if there is an election after the other
)

// remove takes a host that is gone out of the cluster. Nobody may take out one that is
// alive, and at first the others still think that it is.
func (c *chaos) remove(h *host) error {
	witness := c.host(1)
	if witness == h {
		witness = c.host(2)
	}
	ctx, cancel := context.WithTimeout(h.ctx, removalsTime)
	defer cancel()
	var (
		begin     = time.Now()
		term      uint64
		since     time.Time // of that term
		elections = -1
	)
	err := lab.Poll(ctx, "the removal of the host", func() error {
		if now, terr := c.consul.Term(ctx); terr == nil && now != term {
			term, since = now, time.Now()
			elections++
		}
		_, err := witness.try("docker ournet host rm " + h.Name)
		if err != nil && time.Since(since) > leaseTime+removalTime {
			cancel()
		}
		return err
	})
	c.Logf("%s was removed from the cluster after %.1f s and %d elections: %v", h.Name, time.Since(begin).Seconds(), elections, err)
	return err
}

// pause is how long a host's user waits at most before the next command: the machine shall
// not be so busy that the looks take longer than what they look for.
const pause = 8 * time.Second

// whileTheyComeAndGo has the trouble come while containers come and go on all hosts.
// Commands may fail then; a host may be away. It returns when the last ones have ended: an
// engine does to the end what it was told, even if nobody waits for it.
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
				if err := h.oneComesOrGoes(context.WithoutCancel(ctx), own); errors.Is(err, context.DeadlineExceeded) {
					return err
				} else if err != nil {
					failed[i]++
				}
				<-time.After(time.Duration(own.Int64N(int64(pause))))
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

// endless is when a command is not waited for any more. The engine alone waits for up to
// a minute for a plugin that is gone.
const endless = 3 * time.Minute

func (h *host) oneComesOrGoes(ctx context.Context, random *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, endless)
	defer cancel()
	name := fmt.Sprintf("%s-%d", h.Name, random.IntN(chaosPeople))
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
	if ctx.Err() != nil {
		return fmt.Errorf("%s on %s does not end: %w", line, h.Name, ctx.Err())
	}
	return err
}
