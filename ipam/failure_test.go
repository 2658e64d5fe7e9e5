package ipam_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/ipam"
)

// A store that fails may have done the write or not; neither may leave anything
// half-made, nor may what it did come back after a restart for good.
func TestStoreErrors_nothingIsHalfMade(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"before", "after"} {
		for _, tc := range []struct {
			name string
			do   func(w *world, id ipam.PoolID) error
		}{
			{"request pool", func(w *world, _ ipam.PoolID) error {
				_, _, err := w.RequestPool(w.t.Context(), poolRequest("172.26.0.0/16", ""))
				return err
			}},
			{"request chosen pool", func(w *world, _ ipam.PoolID) error {
				_, _, err := w.RequestPool(w.t.Context(), poolRequest("", ""))
				return err
			}},
			{"request gateway", func(w *world, id ipam.PoolID) error {
				_, err := w.RequestAddress(w.t.Context(), gateway(id, ""))
				return err
			}},
			{"request named", func(w *world, id ipam.PoolID) error {
				_, err := w.RequestAddress(w.t.Context(), named(id, "new"))
				return err
			}},
			{"request remembered", func(w *world, id ipam.PoolID) error {
				_, err := w.RequestAddress(w.t.Context(), named(id, "gone"))
				return err
			}},
			{"request static that is remembered for another", func(w *world, id ipam.PoolID) error {
				_, err := w.RequestAddress(w.t.Context(), static(id, "172.25.0.2", "thief"))
				return err
			}},
			{"request nameless", func(w *world, id ipam.PoolID) error {
				_, err := w.RequestAddress(w.t.Context(), any4(id))
				return err
			}},
			{"release", func(w *world, id ipam.PoolID) error {
				return w.ReleaseAddress(w.t.Context(), id, netip.MustParseAddr("172.25.0.1"))
			}},
			{"unbind released pool", func(w *world, id ipam.PoolID) error {
				w.releasePool(id)
				return w.UnbindPool(w.t.Context(), id, "net")
			}},
			{"adopt", func(w *world, _ ipam.PoolID) error {
				return w.Adopt(w.t.Context(), []ipam.LiveNetwork{{Network: "new", Pools: []ipam.PoolID{"ournet-host/172.29.0.0/16"}}})
			}},
		} {
			t.Run(how+"/"+tc.name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				id := w.pool("172.25.0.0/16", "", "net")
				w.wantLease(named(id, "web"), "172.25.0.1")
				w.wantLease(named(id, "gone"), "172.25.0.2")
				w.release(id, netip.MustParseAddr("172.25.0.2"))
				before, keys := unbound(w.Pools()), w.keys()

				w.kv.setFail(how)
				if err := tc.do(w, id); !errors.Is(err, errDisk) {
					t.Fatalf("error %v, want %v", err, errDisk)
				}
				wantPools(t, before, w.Pools())
				if _, err := w.Sweep(t.Context(), nil); (err == nil) != (how == "before") {
					t.Errorf("Sweep with a failing store: %v", err)
				}
				w.kv.setFail("")
				w.sweep()
				wantPools(t, before, w.Pools())
				w.wantKeys(keys...)
				w.wantSameAfterReopen()

				if err := tc.do(w, id); err != nil {
					t.Errorf("second try: %v", err)
				}
			})
		}
	}
}

func wantPools(t *testing.T, want, got []ipam.PoolInfo) {
	t.Helper()
	if diff := cmp.Diff(want, unbound(got), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("pools (-want +got):\n%s", diff)
	}
}

// What the store may have lost by a failed write is written again before it is
// promised again.
func TestStoreErrors_repeatedRequestIsDurable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/16", "", "net")
	other := w.unboundPool("172.26.0.0/16", "")
	web := w.lease(named(id, "web"))
	gw := w.lease(gateway(id, ""))
	w.kv.setFail("after")
	if err := w.ReleaseAddress(t.Context(), id, web); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if err := w.ReleasePool(t.Context(), other); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	w.kv.setFail("")
	w.wantKeys("172.25.0.0_16/leases/"+web.String(), "172.25.0.0_16/leases/"+gw.String(), "172.25.0.0_16/pool")
	w.wantLease(named(id, "web"), web.String())
	w.unboundPool("172.26.0.0/16", "")
	w.wantKeys("172.25.0.0_16/leases/"+web.String(), "172.25.0.0_16/leases/"+gw.String(), "172.25.0.0_16/pool", "172.26.0.0_16/pool")
	w.wantSameAfterReopen()
	w.wantRefused(static(id, web.String(), "db"), ipam.ErrInUse, `container "web"`)
}

type answer struct {
	addr netip.Prefix
	err  error
}

func (w *world) ask(req ipam.AddressRequest) <-chan answer {
	ch := make(chan answer, 1)
	go func() {
		addr, err := w.RequestAddress(w.t.Context(), req)
		ch <- answer{addr, err}
	}()
	return ch
}

func TestRequests_waitForTheSameRequestInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/16", "", "net")
	entered, leave := w.kv.stop()
	first := w.ask(named(id, "web"))
	<-entered
	second := w.ask(named(id, "web"))
	// Meanwhile the manager is not held up: others write, and it can be asked.
	w.Pools()
	other := w.ask(named(id, "other"))
	<-entered
	w.kv.run()
	leave <- struct{}{}
	leave <- struct{}{}
	a, b, c := <-first, <-second, <-other
	if err := errors.Join(a.err, b.err, c.err); err != nil {
		t.Fatal(err)
	}
	if a.addr != b.addr || c.addr == a.addr {
		t.Errorf("web got %s and %s, other got %s", a.addr, b.addr, c.addr)
	}
}

func TestRequests_takeTheirTurnWhenTheOneInFlightFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/16", "", "net")
	entered, leave := w.kv.stop()
	first := w.ask(static(id, "172.25.0.9", "web"))
	<-entered
	second := w.ask(static(id, "172.25.0.9", "db"))
	w.kv.mu.Lock()
	w.kv.entered, w.kv.leave, w.kv.fail, w.kv.failOnce = nil, nil, "before", true
	w.kv.mu.Unlock()
	leave <- struct{}{}
	if a := <-first; !errors.Is(a.err, errDisk) {
		t.Errorf("first: %v, want %v", a.err, errDisk)
	}
	if b := <-second; b.err != nil || b.addr.Addr().String() != "172.25.0.9" {
		t.Errorf("second: %v", b)
	}
	w.wantRefused(static(id, "172.25.0.9", "web"), ipam.ErrInUse, `"db"`)
	w.wantSameAfterReopen()
}

func TestRequests_waitingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/16", "", "net")
	entered, leave := w.kv.stop()
	done := make(chan error, 2)
	go func() {
		_, err := w.RequestAddress(t.Context(), static(id, "172.25.0.9", "web"))
		done <- err
	}()
	go func() {
		_, _, err := w.RequestPool(t.Context(), poolRequest("172.26.0.0/16", ""))
		done <- err
	}()
	<-entered
	<-entered
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	_, requestErr := w.RequestAddress(short(), static(id, "172.25.0.9", "web"))
	releaseErr := w.ReleaseAddress(short(), id, netip.MustParseAddr("172.25.0.9"))
	_, _, poolErr := w.RequestPool(short(), poolRequest("172.26.0.0/16", ""))
	releasePoolErr := w.ReleasePool(short(), "ournet-host/172.26.0.0/16")
	adoptErr := w.Adopt(short(), []ipam.LiveNetwork{{Network: "n", Pools: []ipam.PoolID{"ournet-host/172.26.0.0/16"}}})
	for name, err := range map[string]error{
		"RequestAddress": requestErr, "ReleaseAddress": releaseErr, "RequestPool": poolErr, "ReleasePool": releasePoolErr, "Adopt": adoptErr,
	} {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want the end of its context", name, err)
		}
	}
	wantError(t, w.BindPool("ournet-host/172.26.0.0/16", "n"), ipam.ErrNoPool, "just being made")
	wantError(t, w.BindAddress(id, netip.MustParseAddr("172.25.0.9"), "ep"), ipam.ErrNotLeased)
	w.kv.run()
	leave <- struct{}{}
	leave <- struct{}{}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// A pool that is freed while a lease of it is being written takes the lease with
// it, and nobody gets an address of a pool that is going.
func TestReleasePool_whileALeaseIsInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.unboundPool("172.25.0.0/16", "")
	w.lease(gateway(id, ""))
	entered, leave := w.kv.stop()
	leased, freed, late := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := w.RequestAddress(t.Context(), any4(id))
		leased <- err
	}()
	<-entered
	w.kv.run()
	go func() { freed <- w.ReleasePool(t.Context(), id) }()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for { // until the pool is closed: what is answered from memory waits then
		if _, err := w.RequestAddress(ended, gateway(id, "")); err != nil {
			break
		}
	}
	go func() {
		_, err := w.RequestAddress(t.Context(), any4(id))
		late <- err
	}()
	leave <- struct{}{}
	if err := errors.Join(<-leased, <-freed); err != nil {
		t.Fatal(err)
	}
	wantError(t, <-late, ipam.ErrNoPool)
	w.wantKeys()
}
