package names

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/engine"
)

func TestNames_comeWithTheEnginesWordAndGoWithTheEndpoint(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	h.Heard(engine.Event{Kind: engine.Resync})
	a := h.namespace("a")
	asker := h.attach(engine.Inspection{ID: strings.Repeat("a", 64), Name: "asker"}, front, "10.1.0.2", a, engine.Attachment{})
	db := h.container("db", "10.1.0.3", "postgres", "shared")
	h.container("other", "10.1.0.4", "shared")
	for name, want := range map[string]string{
		"db": "10.1.0.3", "DB.front": "10.1.0.3", "postgres": "10.1.0.3", "host-of-db": "10.1.0.3", "a1a1a1a1a1a1": "10.1.0.3",
		"shared": "10.1.0.3 10.1.0.4", "asker": "10.1.0.2", "aaaaaaaaaaaa.front": "10.1.0.2", "db.back": notOurs, "example.org": notOurs,
	} {
		h.answers(a, name, want)
	}
	h.Leave(front, db.ID)
	for name, want := range map[string]string{"db": notOurs, "shared": "10.1.0.4"} {
		if got := h.ask(a, name); got != want {
			t.Errorf("after the endpoint left, %s is %q, want %q", name, got, want)
		}
	}
	h.Leave(front, asker.ID)
	h.eventually(func() string {
		if rules := h.boxes[a].Exec(t, "nft", "list", "ruleset"); rules != "" {
			return "rules are left over: " + rules
		}
		return ""
	})
	h.Leave(front, asker.ID) // a verb that is repeated
}

// A container that takes long to start keeps its own names waiting and no others.
func TestNames_aSlowLookHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	a := h.namespace("a")
	h.attach(engine.Inspection{ID: strings.Repeat("a", 64), Name: "asker"}, front, "10.1.0.2", a, engine.Attachment{})
	started := make(chan struct{})
	slow := engine.Inspection{ID: strings.Repeat("5", 64), Name: "slow"}
	h.engine.set(func() { h.engine.held[slow.ID] = started })
	h.attach(slow, front, "10.1.0.9", "/var/run/docker/netns/slow", engine.Attachment{})
	h.container("quick", "10.1.0.3")
	h.answers(a, "quick", "10.1.0.3")
	if got := h.ask(a, "slow"); got != notOurs {
		t.Errorf("slow is %q before the engine told of it", got)
	}
	close(started)
	h.answers(a, "slow", "10.1.0.9")
}

// What the engine answers late is of an endpoint that has left.
func TestNames_aLateAnswerBringsNobodyBack(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	a := h.namespace("a")
	h.attach(engine.Inspection{ID: strings.Repeat("a", 64), Name: "asker"}, front, "10.1.0.2", a, engine.Attachment{})
	started := make(chan struct{})
	slow := engine.Inspection{ID: strings.Repeat("5", 64), Name: "slow"}
	h.engine.set(func() { h.engine.held[slow.ID] = started })
	ep := h.attach(slow, front, "10.1.0.9", "/var/run/docker/netns/slow", engine.Attachment{})
	h.Leave(front, ep.ID)
	close(started)
	h.eventually(func() string {
		if h.work.running(containerWork(slow.ID)) {
			return "it is still looked at"
		}
		return ""
	})
	if got := h.ask(a, "slow"); got != notOurs {
		t.Errorf("slow is %q, though it has left", got)
	}
}

func TestNames_aRenamedContainerHasItsNewNameAlone(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	a := h.namespace("a")
	c := engine.Inspection{ID: strings.Repeat("a", 64), Name: "before"}
	h.attach(c, front, "10.1.0.2", a, engine.Attachment{})
	h.answers(a, "before", "10.1.0.2")
	h.engine.set(func() {
		changed := h.engine.containers[c.ID]
		changed.Name = "after"
		h.engine.containers[c.ID] = changed
	})
	h.Heard(engine.Event{Kind: engine.Renamed, Container: c.ID})
	h.answers(a, "after", "10.1.0.2")
	if got := h.ask(a, "before"); got != notOurs {
		t.Errorf("before is still %q", got)
	}
}

// Events may be lost, and the engine may not answer for a while.
func TestNames_comparingFindsWhatWasMissed(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"resync", "comparison"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, nil)
			a := h.namespace("a")
			h.engine.set(func() { h.engine.fails = 100 })
			h.attach(engine.Inspection{ID: strings.Repeat("a", 64), Name: "asker"}, front, "10.1.0.2", a, engine.Attachment{})
			h.container("db", "10.1.0.3")
			h.eventually(func() string {
				if h.work.running(containerWork(strings.Repeat("a", 64))) {
					return "the first look has not been given up"
				}
				return ""
			})
			h.engine.set(func() { h.engine.fails = 1 })
			if how == "resync" {
				h.Heard(engine.Event{Kind: engine.Resync})
			} else {
				h.engine.set(func() { h.engine.fails = 0 })
				view, err := h.engine.Networks(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if repairs := h.Compare(t.Context(), view); repairs != nil {
					t.Errorf("Compare repaired %q, though all resolvers were there", repairs)
				}
			}
			h.answers(a, "db.front", "10.1.0.3")
		})
	}
}

func TestEndpoint_hasNoAddressThatIsSwitchedOff(t *testing.T) {
	t.Parallel()
	four, six := netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd00::2")
	for _, noIPv6 := range []bool{false, true} {
		e := endpoint{addrs: []netip.Addr{four, six}, label: newLabel(engine.Inspection{}, engine.Attachment{NoIPv6: noIPv6})}
		want := []netip.Addr{four, six}
		if noIPv6 {
			want = want[:1]
		}
		if got := e.answers(); !slices.Equal(got, want) {
			t.Errorf("answers with IPv6 off = %t: %s, want %s", noIPv6, got, want)
		}
	}
}

// Engines up to 27 show an address that the container's own settings have taken off its
// interface.
func TestOf_hasTheAddressesThatTheInterfaceHas(t *testing.T) {
	t.Parallel()
	for _, there := range []bool{true, false} {
		h := newHost(t, nil)
		c := engine.Inspection{ID: strings.Repeat("a", 64), Name: "web"}
		key := h.namespace("web")
		ep := h.attach(c, front, "10.1.0.2", key, engine.Attachment{})
		ep.AddressIPv6 = netip.MustParsePrefix("fd00::2/64")
		want := ep.Addrs()[:1]
		if there {
			h.boxes[key].Exec(t, "ip", "address", "add", ep.AddressIPv6.String(), "dev", "lo")
			want = ep.Addrs()
		}
		h.Join(t.Context(), ep)
		h.eventually(func() string {
			if h.work.running(containerWork(c.ID)) {
				return "what attaching has begun is not over"
			}
			return ""
		})
		c.Attachments = []engine.Attachment{{Network: string(front), Endpoint: string(ep.ID)}}
		h.lookInside(&c)
		h.learn(c)
		if got, ok := h.Of(front, ep.ID); !ok || !slices.Equal(got.Addrs, want) {
			t.Errorf("with the address there = %t: %v, %t, want %s", there, got, ok, want)
		}
	}
}

func TestNames_linksAreOfTheContainerThatHasThem(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	h.Heard(engine.Event{Kind: engine.Resync})
	a, b := h.namespace("a"), h.namespace("b")
	id := strings.Repeat("d", 64)
	h.attach(engine.Inspection{ID: id, Name: "db"}, front, "10.1.0.9", "/var/run/docker/netns/db", engine.Attachment{})
	h.attach(engine.Inspection{ID: strings.Repeat("a", 64), Name: "one"}, front, "10.1.0.2", a,
		engine.Attachment{Links: []engine.Link{{Target: "db", Alias: "foo"}, {Target: id, Alias: "byid"}}})
	h.attach(engine.Inspection{ID: strings.Repeat("b", 64), Name: "two"}, front, "10.1.0.3", b, engine.Attachment{})
	h.answers(a, "foo", "10.1.0.9")
	h.answers(a, "byid.front", "10.1.0.9")
	h.answers(b, "db", "10.1.0.9")
	if got := h.ask(b, "foo"); got != notOurs {
		t.Errorf("foo is %q for a container that has no link", got)
	}
}

// A name that several networks have is of the first, and the engine says which that is.
func TestNames_networksHaveTheEnginesOrder(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		priority int // of the network back, which is internal
		want     string
	}{{"internal networks last", 0, "10.1.0.9"}, {"what the user prefers first", 1, "10.2.0.9"}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, nil)
			a := h.namespace("a")
			c, db := engine.Inspection{ID: strings.Repeat("a", 64), Name: "asker"}, engine.Inspection{ID: strings.Repeat("d", 64), Name: "db"}
			h.attach(c, back, "10.2.0.2", a, engine.Attachment{Priority: tc.priority})
			last := h.attach(c, front, "10.1.0.2", a, engine.Attachment{})
			h.attach(db, back, "10.2.0.9", "/var/run/docker/netns/db", engine.Attachment{})
			h.attach(db, front, "10.1.0.9", "/var/run/docker/netns/db", engine.Attachment{})
			h.answers(a, "asker", strings.Replace(tc.want, ".9", ".2", 1))
			h.answers(a, "db", tc.want)
			h.Leave(front, last.ID)
			h.answers(a, "db", "10.2.0.9")
		})
	}
}

// Engines up to 27 make the namespace after they have asked for the interfaces.
func TestJoin_aNamespaceThatComesLaterIsOpenedThen(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	key := "/var/run/docker/netns/later"
	ep := h.attach(engine.Inspection{ID: strings.Repeat("a", 64), Name: "asker"}, front, "10.1.0.2", key, engine.Attachment{})
	if !h.stations.isAwaited(key) {
		t.Fatal("nobody waits for the namespace")
	}
	h.Leave(front, ep.ID)
	h.eventually(func() string {
		if h.stations.isAwaited(key) {
			return "somebody still waits, though the endpoint has left"
		}
		return ""
	})
	h.Join(t.Context(), ep)
	h.namespace("later")
	// No mount tells of a symbolic link, so it is the sweep that finds it.
	h.stations.stopAwaiting(key, nil)
	if got := h.Compare(t.Context(), nil); !slices.Equal(got, []string{"resolver of sandbox " + key}) {
		t.Errorf("Compare repaired %q, want the resolver", got)
	}
	h.Heard(engine.Event{Kind: engine.Resync})
	h.answers(key, "asker", "10.1.0.2")
}

// told has what an announcer was told, by endpoint.
type told struct {
	mu   sync.Mutex // guards last
	last map[driver.EndpointID]string
}

func (a *told) SetNames(_ driver.NetworkID, endpoint driver.EndpointID, name string, aliases []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last[endpoint] = fmt.Sprint(name, aliases)
}

func TestAnnouncer_isToldEachNewName(t *testing.T) {
	t.Parallel()
	announcer := &told{last: make(map[driver.EndpointID]string)}
	h := newHost(t, announcer)
	ep := h.container("db", "10.1.0.3", "postgres")
	const want = "db[postgres a0a0a0a0a0a0 host-of-db]"
	h.eventually(func() string {
		announcer.mu.Lock()
		defer announcer.mu.Unlock()
		if got := announcer.last[ep.ID]; got != want {
			return "the announcer was told " + got + ", want " + want
		}
		return ""
	})
	if got, ok := h.Of(front, ep.ID); !ok || fmt.Sprint(got.Name, got.Aliases, got.Addrs) != want+" [10.1.0.3]" {
		t.Errorf("Of = %v, %t, want %s", got, ok, want)
	}
	h.Leave(front, ep.ID)
	if got, ok := h.Of(front, ep.ID); ok {
		t.Errorf("Of = %v after the endpoint left", got)
	}
}

func TestSetNetwork_theNetworksTTLComesBeforeThePlugins(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	ttl := time.Duration(0)
	h.SetNetwork(driver.Network{ID: back, Options: driver.Options{DNSTTL: &ttl}})
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.networks[front].ttl != 5*time.Second || h.networks[back].ttl != 0 {
		t.Errorf("TTLs are %s and %s, want 5s and 0s", h.networks[front].ttl, h.networks[back].ttl)
	}
}

// A container must start whatever becomes of its names.
func TestJoin_aNamespaceThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	key := "/var/run/docker/netns/bad"
	file := filepath.Join(h.root, "run/docker/netns/bad")
	if err := os.Symlink("bad", file); err != nil { // one that leads to itself
		t.Fatal(err)
	}
	h.attach(engine.Inspection{ID: strings.Repeat("a", 64), Name: "asker"}, front, "10.1.0.2", key, engine.Attachment{})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	h.namespace("bad")
	if got := h.Compare(t.Context(), nil); len(got) != 1 {
		t.Errorf("Compare repaired %q, want the resolver", got)
	}
	h.answers(key, "asker", "10.1.0.2")
}
