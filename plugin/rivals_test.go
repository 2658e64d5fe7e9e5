package plugin

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ournet/ournet/internal/engine"
)

// labOf is a network that propagation makes of a subnet.
func labOf(subnet string) engine.Definition {
	return engine.Definition{Name: "lab", IPAM: engine.IPAM{Subnets: []engine.Subnet{{Subnet: netip.MustParsePrefix(subnet)}}}}
}

func TestRivals_propagationWaitsForAUsersNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, d := newRivals(), labOf("10.1.0.0/24")
		may := func(when string, want bool) {
			t.Helper()
			got := r.begin(d)
			if got != want {
				t.Errorf("%s: propagation may begin is %t, want %t", when, got, want)
			}
			if got && r.end(false) {
				t.Errorf("%s: somebody waits", when)
			}
		}
		answered := r.enter(t.Context(), netip.Prefix{})
		may("a user asks for a pool", false)
		answered("pool", nil)
		may("he has got it", false)
		r.becomes("network", "pool", "pool of another")
		may("the network is made of it", false)
		r.becomes("", "network")
		may("the engine has it", true)
		r.enter(t.Context(), netip.Prefix{})("", errors.New("no"))
		may("a user was refused", true)
		r.enter(t.Context(), netip.Prefix{})("pool", nil)
		time.Sleep(rivalLife) //nolint:forbidigo // in synctest's time
		may("the engine may yet tell", false)
		time.Sleep(time.Second) //nolint:forbidigo // in synctest's time
		may("the engine has not told for long", true)
	})
}

func TestRivals_userWaitsUntilPropagationIsOutOfTheWay(t *testing.T) {
	t.Parallel()
	for _, subnet := range []string{"10.1.0.0/24", "10.2.0.0/24", ""} {
		t.Run("of subnet "+strings.ReplaceAll(subnet, "/", "-"), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRivals()
				if !r.begin(labOf("10.1.0.0/24")) {
					t.Fatal("propagation may not begin")
				}
				r.enter(t.Context(), netip.MustParsePrefix("10.1.0.0/24"))("own", nil)
				var user time.Time
				go func() {
					var p netip.Prefix
					if subnet != "" {
						p = netip.MustParsePrefix(subnet)
					}
					answered := r.enter(t.Context(), p)
					user = time.Now()
					answered("pool", nil)
				}()
				time.Sleep(time.Second) //nolint:forbidigo // in synctest's time
				if !user.IsZero() || !r.end(false) {
					t.Error("the user does not wait")
				}
				if r.end(true) {
					t.Error("what was made is to be taken back twice")
				}
				synctest.Wait()
				if user.IsZero() {
					t.Error("the user waits for nothing")
				}
				if r.begin(labOf("10.1.0.0/24")) {
					t.Error("propagation begins while the user's network is on its way")
				}
			})
		})
	}
}

// A user who waits goes on waiting if propagation makes the next network at once.
func TestRivals_userWaitsForTheNextAsWell(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRivals()
		r.begin(labOf("10.1.0.0/24"))
		var user time.Time
		go func() {
			answered := r.enter(t.Context(), netip.Prefix{})
			user = time.Now()
			answered("pool", nil)
		}()
		synctest.Wait()
		r.end(true)
		if !r.begin(labOf("10.2.0.0/24")) {
			return // the user was faster
		}
		synctest.Wait()
		if !user.IsZero() {
			t.Error("the user does not wait")
		}
		r.end(true)
		synctest.Wait()
		if user.IsZero() {
			t.Error("the user waits for nothing")
		}
	})
}

// Nobody waits for longer than a verb can, whatever the engine does.
func TestRivals_waitIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRivals()
		r.begin(labOf("10.1.0.0/24"))
		start := time.Now()
		r.enter(t.Context(), netip.Prefix{})("pool", nil)
		if waited := time.Since(start); waited != rivalTime {
			t.Errorf("the user waited %s, want %s", waited, rivalTime)
		}
	})
}

// On an old engine a user makes the network at the moment in which propagation does. The
// user's stays, under its name alone, and the cluster's network is the same as before.
func TestPropagate_userIsFirstOnAnEngineThatTakesNamesTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		h := w.hosts[1]
		var once bool
		w.mu.Lock()
		h.old = true
		h.making = func() {
			if once {
				return
			}
			once = true
			go func() {
				h.rivals.enter(t.Context(), netip.Prefix{})("pool", nil)
				h.rivals.becomes("", "pool")
				h.user(t, "lab", "")
			}()
			time.Sleep(time.Second) //nolint:forbidigo // in synctest's time
		}
		w.mu.Unlock()
		w.hosts[0].user(t, "lab", "1")
		time.Sleep(5 * time.Second) //nolint:forbidigo // in synctest's time
		w.assert(t, "the user was quicker", "lab/1", "lab")
		if p := h.troubles()["c1"]; !strings.Contains(p, "the name lab is taken on this host") {
			t.Errorf("problem at host 2 = %q", p)
		}
	})
}

// If they come to be two all the same, the guest goes, from this host alone.
func TestPropagate_networkOfATakenNameIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		h := w.hosts[1]
		w.mu.Lock()
		h.old = true
		w.mu.Unlock()
		w.hosts[0].user(t, "lab", "1")
		quiet()
		w.assert(t, "made on host 1", "lab/1")
		h.user(t, "lab", "2")
		quiet()
		w.assert(t, "made on host 2", "lab/1", "lab/2")
		w.hosts[0].user(t, "lab2", "3")
		quiet()
		w.assert(t, "another made on host 1", "lab/1 lab2/3", "lab/2 lab2/3")
	})
}
