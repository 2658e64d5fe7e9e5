package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
)

// node is one host of a [world], and what its user wants.
type node struct {
	*host

	wire *wire
	disk *disk
	up   atomic.Bool
	// has is the truth: the networks that it takes part in, and its endpoints there.
	has map[cluster.NetworkID]map[cluster.EndpointID]cluster.Endpoint
}

// world is a cluster with its store, and all that goes wrong.
type world struct {
	rt     inBubble
	shared *memstore.Store
	nodes  []*node
	serial int
	// removed are the generations of networks that some host's user removed; unsure
	// are those of which that was lost with the store.
	removed map[cluster.NetworkID]uint64
	unsure  map[cluster.NetworkID]bool
	// wiped says that the store does not know networks of hosts that are away. Whoever
	// makes another on their subnet now has it, and nothing can be done.
	wiped bool
}

func newWorld(rt inBubble) *world {
	w := &world{rt: rt, shared: memstore.New(), removed: make(map[cluster.NetworkID]uint64), unsure: make(map[cluster.NetworkID]bool)}
	for n := range 3 {
		nd := &node{
			wire: newWire(w.shared, cluster.DefaultTTL), disk: &disk{Store: memstore.New(), left: -1},
			has: make(map[cluster.NetworkID]map[cluster.EndpointID]cluster.Endpoint),
		}
		nd.host = newHost(rt, n+1, nd.wire)
		// Chosen ids make runs more alike.
		value := fmt.Appendf(nil, `{"v":1,"r":{"id":"%016x"}}`, n+1)
		_, err := nd.disk.Apply(rt.Context(), store.Set(store.LocalHostKey(), value))
		w.must(err)
		nd.host.disk, nd.opts.Removal = nd.disk, 5*time.Minute
		w.nodes = append(w.nodes, nd)
		w.begin(nd)
	}
	return w
}

// begin starts a node's process, which says what it has as the plugin does.
func (w *world) begin(nd *node) {
	nd.disk.revive()
	nd.start()
	nd.up.Store(true)
	w.rt.tell("host %d begins", nd.n)
	for id := range nd.has {
		if !nd.View().Joined(id) {
			w.rt.Fatalf("host %d does not know that it takes part in %s", nd.n, id[:8])
		}
	}
	// The process may have been killed while it left one, and the user asks again.
	for _, n := range nd.View().Networks() {
		if _, ok := nd.has[n.ID]; !ok && nd.View().Joined(n.ID) {
			w.must(w.remove(nd, n.ID))
		}
	}
	w.must(nd.Sync(w.rt.Context(), nd.all()))
}

// remove is what the plugin does when its user removes a network.
func (w *world) remove(nd *node, id cluster.NetworkID) error {
	n, _ := nd.View().Network(id)
	err := nd.LeaveNetwork(w.rt.Context(), id, true)
	w.rt.tell("host %d removes network %s of generation %d: %v", nd.n, id[:8], n.Generation, err)
	if err == nil {
		w.removed[id] = max(w.removed[id], n.Generation)
	}
	return err
}

func (w *world) must(err error) {
	w.rt.Helper()
	if err != nil {
		w.rt.Fatalf("%v", err)
	}
}

func (nd *node) all() []cluster.Endpoint {
	var all []cluster.Endpoint
	for _, endpoints := range nd.has {
		all = slices.AppendSeq(all, maps.Values(endpoints))
	}
	return all
}

// kill ends a node's process, in whatever it is.
func (nd *node) kill() {
	nd.cancel()
	<-nd.ended //nolint:errcheck // it was killed, maybe by its disk
	nd.up.Store(false)
	time.AfterFunc(cluster.DefaultTTL, func() {
		if !nd.up.Load() {
			nd.wire.end()
		}
	})
}

// after is what follows a call of a process that may have been killed at a write of its
// own or another: it is begun again.
func (w *world) after(nd *node, err error) {
	nd.disk.killAfter(-1, done)
	if nd.disk.isDead() {
		nd.kill()
		w.rt.tell("host %d was killed", nd.n)
		w.begin(nd)
		return
	}
	w.must(err)
}

func (w *world) pick(up bool) *node {
	var some []*node
	for _, nd := range w.nodes {
		if nd.up.Load() || !up {
			some = append(some, nd)
		}
	}
	if len(some) == 0 {
		w.rt.Skip("no host is up")
	}
	return some[rapid.IntRange(0, len(some)-1).Draw(w.rt.T, "host")]
}

func (w *world) pickJoined() (*node, cluster.NetworkID) {
	nd := w.pick(true)
	if len(nd.has) == 0 {
		w.rt.Skip("it takes part in no network")
	}
	return nd, rapid.SampledFrom(slices.Sorted(maps.Keys(nd.has))).Draw(w.rt.T, "network")
}

func (w *world) join(*rapid.T) {
	if w.wiped {
		w.rt.Skip("the store has no past")
	}
	nd := w.pick(true)
	w.serial++
	s := spec(w.serial, fmt.Sprintf("10.%d.0.0/24", rapid.IntRange(1, 2).Draw(w.rt.T, "subnet")))
	nd.wire.meet(rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) fate { return fate(rapid.IntRange(0, int(fates)-1).Draw(rt, "fate")) }), 0, 2).Draw(w.rt.T, "fates"))
	ctx, cancel := context.WithTimeout(w.rt.Context(), 10*time.Second)
	defer cancel()
	n, err := nd.JoinNetwork(ctx, s)
	nd.wire.meet(nil)
	w.rt.tell("host %d joins %s by %s: %s %d %v", nd.n, s.Subnets[0].Pool, s.ID[:8], n.ID[:min(8, len(n.ID))], n.Generation, err)
	if err != nil {
		if errors.Is(err, cluster.ErrTaken) && w.lost(nd) {
			return // its network's subnet is another's now
		}
		if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUncertain) {
			w.rt.Fatalf("join: %v", err)
		}
		return
	}
	w.must(nd.CompleteNetwork(w.rt.Context(), n.ID, cluster.Completion{Name: string(n.ID[:8])}))
	if nd.has[n.ID] == nil {
		nd.has[n.ID] = make(map[cluster.EndpointID]cluster.Endpoint)
	}
}

func (w *world) leave(*rapid.T) {
	nd, id := w.pickJoined()
	synctest.Wait() // which generation it is that goes is to be clear
	nd.disk.killAfter(rapid.IntRange(-1, 3).Draw(w.rt.T, "writes"), refused)
	delete(nd.has, id)
	w.after(nd, w.remove(nd, id))
}

func (w *world) announce(*rapid.T) {
	nd, id := w.pickJoined()
	w.serial++
	// Few ids: they go and come again.
	e := endpoint(id, 1000*nd.n+rapid.IntRange(0, 5).Draw(w.rt.T, "endpoint"))
	e.Host = nd.Self().ID
	e.Aliases = []string{fmt.Sprintf("a%d", w.serial)}
	nd.disk.killAfter(rapid.IntRange(-1, 2).Draw(w.rt.T, "writes"), rapid.SampledFrom([]fate{refused, lost}).Draw(w.rt.T, "kill"))
	nd.has[id][e.ID] = e
	err := nd.Announce(w.rt.Context(), e)
	w.rt.tell("host %d announces %s %s: %v", nd.n, id[:8], e.ID[:8], err)
	w.after(nd, err)
}

func (w *world) withdraw(*rapid.T) {
	nd, id := w.pickJoined()
	if len(nd.has[id]) == 0 {
		w.rt.Skip("it has no endpoint")
	}
	e := rapid.SampledFrom(slices.Sorted(maps.Keys(nd.has[id]))).Draw(w.rt.T, "endpoint")
	delete(nd.has[id], e)
	err := nd.Withdraw(w.rt.Context(), id, e)
	w.rt.tell("host %d withdraws %s %s: %v", nd.n, id[:8], e[:8], err)
	w.after(nd, err)
}

func (w *world) restart(*rapid.T) {
	nd := w.pick(false)
	if nd.up.Load() {
		nd.kill()
		w.rt.tell("host %d is killed", nd.n)
	} else {
		w.begin(nd)
	}
}

func (w *world) cut(*rapid.T) {
	nd := w.pick(false)
	if nd.wire.isCut() {
		nd.wire.connect()
	} else {
		nd.wire.disconnect()
	}
	w.rt.tell("host %d is cut off: %t", nd.n, nd.wire.isCut())
}

func (w *world) wait(*rapid.T) {
	<-time.After(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 15 * time.Second, 12 * time.Minute}).Draw(w.rt.T, "time"))
	synctest.Wait()
}

// lost reports whether a host has a network that the store does not know.
func (w *world) lost(nd *node) bool {
	for id := range nd.has {
		if _, err := w.shared.Get(w.rt.Context(), store.NetworkKey(string(id))); err != nil {
			return true
		}
	}
	return false
}

// wipe takes everything out of the store.
func (w *world) wipe(*rapid.T) {
	// A host that was taken for gone may have a network whose subnet is another's now.
	// Without the store's note that it is gone, nothing can tell it.
	if slices.ContainsFunc(w.nodes, w.lost) {
		w.rt.Skip("a host does not know yet that a network is gone")
	}
	w.shared.Wipe()
	w.rt.tell("the store is wiped")
	w.wiped = true
	for id := range w.removed {
		w.unsure[id] = true
	}
}

func (w *world) removeHost(*rapid.T) {
	nd, other := w.pick(true), w.pick(false)
	ctx, cancel := context.WithTimeout(w.rt.Context(), 10*time.Second)
	defer cancel()
	err := nd.RemoveHost(ctx, other.Self().ID)
	w.rt.tell("host %d removes host %d: %v", nd.n, other.n, err)
	if err != nil && !errors.Is(err, cluster.ErrHostAlive) && !errors.Is(err, cluster.ErrUnknownHost) && !errors.Is(err, store.ErrUnavailable) {
		w.rt.Fatalf("remove host: %v", err)
	}
}

// settle lets all come back, and everything be said.
func (w *world) settle() {
	for _, nd := range w.nodes {
		nd.wire.connect()
		if !nd.up.Load() {
			w.begin(nd)
		}
	}
	w.rt.tell("all is well again")
	quiet(3 * time.Minute)
	w.wiped = false
	// That a network is complete is told by the plugin until it is.
	for _, n := range w.nodes[0].View().Networks() {
		if !n.Complete {
			err := w.nodes[0].CompleteNetwork(w.rt.Context(), n.ID, cluster.Completion{Name: string(n.ID[:8])})
			if !errors.Is(err, cluster.ErrUnknownNetwork) { // it was removed everywhere
				w.must(err)
			}
		}
	}
	synctest.Wait()
}

// check wants that every view is the truth.
func (w *world) check() {
	want := make(map[cluster.NetworkID][]string)
	for _, nd := range w.nodes {
		for id, endpoints := range nd.has {
			want[id] = append(want[id], "member "+string(nd.Self().ID))
			for _, e := range endpoints {
				want[id] = append(want[id], fmt.Sprint(e))
			}
		}
	}
	vnis := make(map[cluster.NetworkID]uint32)
	for _, nd := range w.nodes {
		v := nd.View()
		if hosts := v.Hosts(); len(hosts) != len(w.nodes) || slices.ContainsFunc(hosts, func(p cluster.Peer) bool { return p.Suspect }) {
			w.rt.Fatalf("host %d sees hosts %+v", nd.n, hosts)
		}
		for id := range want {
			n, ok := v.Network(id)
			if !ok {
				if w.removed[id] > 0 && nd.has[id] == nil {
					continue // it was removed everywhere while somebody was taken for gone
				}
				w.rt.Fatalf("host %d does not know network %s", nd.n, id[:8])
			}
			if vnis[id] != 0 && vnis[id] != n.VNI {
				w.rt.Fatalf("network %s has VNIs %d and %d", id[:8], vnis[id], n.VNI)
			}
			vnis[id] = n.VNI
		}
		for id := range nd.has {
			have := []string{}
			for _, host := range v.Members(id) {
				have = append(have, "member "+string(host))
			}
			for _, e := range v.Endpoints(id) {
				have = append(have, fmt.Sprint(e))
			}
			slices.Sort(have)
			slices.Sort(want[id])
			if !slices.Equal(have, want[id]) {
				w.rt.Fatalf("host %d sees in network %s\n%s\nwant\n%s", nd.n, id[:8], strings.Join(have, "\n"), strings.Join(want[id], "\n"))
			}
			n, _ := v.Network(id)
			if removed := w.removed[id] >= n.Generation; v.Removed(id) != removed && !w.unsure[id] {
				w.rt.Fatalf("host %d: network %s removed: %t, want %t", nd.n, id[:8], v.Removed(id), removed)
			}
		}
	}
	w.checkStore(want)
}

func (w *world) close() {
	for _, nd := range w.nodes {
		if nd.up.Load() {
			nd.cancel()
			<-nd.ended //nolint:errcheck // the test is over
			nd.up.Store(false)
		}
		nd.wire.end()
	}
}

// Whatever hosts do and whatever happens to them and to the store: when it is quiet
// again, every host sees what there is.
func TestCluster_everyViewIsTheTruthInTheEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		check(t, rt, func(rt inBubble) {
			w := newWorld(rt)
			defer w.close()
			rt.Repeat(map[string]func(*rapid.T){
				"join": w.join, "leave": w.leave, "announce": w.announce, "announce more": w.announce, "withdraw": w.withdraw,
				"restart": w.restart, "cut": w.cut, "wait": w.wait, "wait more": w.wait, "wipe": w.wipe, "remove host": w.removeHost,
				"settle": func(*rapid.T) { w.settle(); w.check() },
				"":       func(*rapid.T) {},
			})
			w.settle()
			w.check()
			w.settle()
			w.check()
		})
	})
}
